"""Repairs in the text of a training script: one file an edit, ``plan.plan_script`` makes the plan."""
