"""What the source says of a class and of its fields."""

import ast
import inspect
import textwrap


def summary(told: object) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join(inspect.cleandoc(told.__doc__ or "").split("\n\n")[0].split())


def field_texts(cls: type) -> dict[str, str]:
    """What is written under each field of ``cls``, by the field's name."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    texts: dict[str, str] = {}
    for statement, after in zip(definition.body, definition.body[1:], strict=False):
        match statement, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str() as written)),
            ):
                texts[name] = " ".join(written.split())
    return texts
