"""GC206."""

from collections.abc import Iterator

from gradcheck.findings.evidence import break_finding, loss_of_gradient
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import module_text
from gradcheck.judging.judge import chain_of
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

RETURN_GRADIENT = Repair(
    name="return-gradient",
    summary="Return a gradient from backward for each tensor input that needs one (ctx.needs_input_grad).",
    snippet="return grad_x if ctx.needs_input_grad[0] else None, None",
)


@rule("GC206")
def custom_function_without_gradient(trace: Trace) -> Iterator[Finding]:
    """A custom autograd function gives no gradient back to an input that needs one.

    ## What it does

    Reports a `torch.autograd.Function` that read a tensor which carries a gradient and whose backward returned None
    for it, that marked its output as non-differentiable, or that was run where its output lost the graph.

    ## Why this breaks training

    Inside a custom function autograd is off: the author's `backward` is the only source of gradients. A `return
    None, None` left from an inference kernel, or a fused kernel with a backward for the activations and none for
    the weights, ends the chain without a word.

    ## Example

        class Scale(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, weight):
                ctx.save_for_backward(x, weight)
                return x * weight
            @staticmethod
            def backward(ctx, grad):
                x, weight = ctx.saved_tensors
                return grad * weight, None      # the weight is trainable now

    ## Repair

    Compute the gradient of each input for which `ctx.needs_input_grad` is True, and check the function once with
    `torch.autograd.gradcheck` in double precision. Where the kernel is not yours, switch to its plain counterpart.

    ## References

    - Extending autograd: https://pytorch.org/docs/stable/notes/extending.html
    - torch.autograd.gradcheck: https://pytorch.org/docs/stable/generated/torch.autograd.gradcheck.gradcheck.html
    """
    for broken in chain_of(trace).breaks:
        if broken.cause != "custom-function":
            continue
        name = trace.regions[broken.region].name if broken.region != NONE else "A custom function"
        yield break_finding(
            trace,
            "GC206",
            broken,
            what=f"{name} in {module_text(trace, broken.module)} gives no gradient back to its input.",
            why=f"Its backward is the only source of gradients: {loss_of_gradient(trace, broken)}.",
            remedy="Return a gradient for each input that needs one, or use the plain operation instead.",
            repairs=(RETURN_GRADIENT,),
        )
