"""What a rule explains away is the finding of another rule that there is."""

from gradcheck.findings.rule import RULES


def test_what_a_rule_explains_is_what_other_rules_find() -> None:
    rules = RULES.all()
    explained = {code: entry.explains for code, entry in rules.items() if entry.explains}
    assert len(explained) >= 20
    for code, symptoms in explained.items():
        assert set(symptoms) <= set(rules) - {code}, code
