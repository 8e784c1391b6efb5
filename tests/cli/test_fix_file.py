"""``gradcheck fix`` of a script, a configuration or an adapter folder."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gradcheck.cli.exit_status import ExitStatus
from gradcheck.cli.fix_file import fix_file, tell_settings
from gradcheck.errors import TargetError

SCRIPTS = Path(__file__).parents[2] / "fixtures" / "scripts"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


def script(tmp_path: Path, case: str) -> Path:
    path = tmp_path / "my train.py"
    path.write_bytes((SCRIPTS / case / "before.py").read_bytes())
    return path


def after(case: str) -> bytes:
    return (SCRIPTS / case / "after.py").read_bytes()


def test_a_dry_run_shows_the_diff_the_reasons_and_what_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = script(tmp_path, "33_several_defects")
    before = path.read_bytes()
    monkeypatch.chdir(tmp_path)
    assert fix_file(path, apply=False) == ExitStatus.FINDINGS
    out = capsys.readouterr().out
    assert out.startswith("--- a/my train.py\n+++ b/my train.py\n")
    assert "\n+model.enable_input_require_grads()\n" in out
    assert "line 8    enable-input-require-grads\n" in out
    assert "changes what is computed" in out
    assert out.rstrip().endswith(f"gradcheck fix '{path}' --apply")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("here", ["", "src"])
def test_git_applies_the_diff_where_one_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, here: str
) -> None:
    (tmp_path / "src" / "deep").mkdir(parents=True)
    path = script(tmp_path / "src" / "deep", "33_several_defects")
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    monkeypatch.chdir(tmp_path / here)
    fix_file(path.relative_to(tmp_path / here), apply=False)
    patch = capsys.readouterr().out.partition("\n\n")[0] + "\n"
    subprocess.run(["git", "apply", "--unidiff-zero"], check=True, input=patch, text=True)
    assert path.read_bytes() == after("33_several_defects")


def test_apply_writes_what_the_dry_run_showed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = script(tmp_path, "33_several_defects")
    before = path.read_bytes()
    assert fix_file(path, apply=True) == ExitStatus.HEALTHY
    assert path.read_bytes() == after("33_several_defects")
    backup = tmp_path / "my train.py.bak"
    assert backup.read_bytes() == before
    out = capsys.readouterr().out
    assert "6 repairs written" in out
    assert "backup" in out
    assert fix_file(path, apply=True) == ExitStatus.HEALTHY
    assert "nothing to repair" in capsys.readouterr().out
    assert sorted(tmp_path.iterdir()) == sorted([path, backup])


def test_what_only_the_author_can_repair_is_a_finding_also_with_apply(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = script(tmp_path, "34_loss_from_numbers")
    assert fix_file(path, apply=False) == ExitStatus.FINDINGS
    assert fix_file(path, apply=True) == ExitStatus.FINDINGS
    out = capsys.readouterr().out
    assert "3 places to look at yourself" in out
    assert "> loss = torch.tensor(outputs.loss.item(), requires_grad=True)" in out
    assert "+ loss = outputs.loss" in out
    assert "--apply" not in out
    assert list(tmp_path.iterdir()) == [path]


def test_a_right_script_is_healthy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script(tmp_path, "50_ok_kbit_default")
    assert fix_file(path, apply=False) == ExitStatus.HEALTHY
    assert "nothing to repair" in capsys.readouterr().out


def test_the_version_decides_where_the_script_leaves_it_open(tmp_path: Path) -> None:
    path = script(tmp_path, "03_aliases")
    assert fix_file(path, apply=False, transformers="4.57.1") == ExitStatus.FINDINGS
    assert fix_file(path, apply=False, transformers="5.23.0") == ExitStatus.HEALTHY


def test_colors_are_of_the_terminal_and_the_diff_stays_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = script(tmp_path, "01_trainer_8bit_lora")
    fix_file(path, apply=False)
    bare = capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")
    fix_file(path, apply=False)
    colored = capsys.readouterr().out
    assert "\x1b[32m+model.enable_input_require_grads()" in colored
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", colored).splitlines()]
    assert lines == [line.rstrip() for line in bare.splitlines()]


def test_what_a_script_says_is_shown_and_not_obeyed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "train.py"
    path.write_text(
        "loss = f()  # \x1b[31mred\u202e\nloss.requires_grad_(True)  # \x1b]0;title\x07\n"
        "loss.backward()\n"
    )
    fix_file(path, apply=False)
    out = capsys.readouterr().out
    assert "-loss.requires_grad_(True)" in out
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_a_configuration(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("gradient_checkpointing_kwargs: {use_reentrant: true}  # old\n")
    assert fix_file(config, apply=True) == ExitStatus.HEALTHY
    assert config.read_text() == "gradient_checkpointing_kwargs: {use_reentrant: false}  # old\n"


def test_the_configuration_of_an_adapter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "adapter_config.json"
    config.write_text('{"inference_mode": true}')
    assert fix_file(config, apply=False) == ExitStatus.FINDINGS
    assert '+{"inference_mode": false}' in capsys.readouterr().out
    assert config.read_text() == '{"inference_mode": true}'
    assert fix_file(config, apply=True) == ExitStatus.HEALTHY
    assert "is_trainable=True" in capsys.readouterr().out
    assert config.read_text() == '{"inference_mode": false}'


def test_the_settings_of_an_adapter_folder_are_told_beside_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "adapter_config.json"
    config.write_text('{\n  "inference_mode": true\n}\n')
    tell_settings(tmp_path, apply=False)
    out, err = capsys.readouterr()
    assert out == ""
    assert f'{config}:2 "inference_mode": true' in err
    assert "--apply changes this line" in err
    tell_settings(tmp_path, apply=True)
    assert config.read_text() == '{\n  "inference_mode": false\n}\n'
    assert "backup" in capsys.readouterr().err
    tell_settings(tmp_path, apply=True)
    assert capsys.readouterr() == ("", "")


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def f(:\n")
    with pytest.raises(TargetError, match="line 1"):
        fix_file(bad, apply=True)
    assert bad.read_text() == "def f(:\n"
    with pytest.raises(TargetError, match="there is no file"):
        fix_file(tmp_path / "none.py", apply=False)
    other = tmp_path / "notes.txt"
    other.write_text("x")
    with pytest.raises(TargetError, match="no configuration"):
        fix_file(other, apply=False)


def test_a_script_is_read_and_never_run_and_torch_stays_out(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nraise SystemExit(3)\n")
    code = (
        "import sys; from pathlib import Path; from gradcheck.cli.fix_file import fix_file; "
        "fix_file(Path(sys.argv[1]), apply=True); "
        "assert 'libcst' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True)
    assert not (tmp_path / "ran").exists()


def test_the_command_line_starts_without_libcst() -> None:
    code = "import sys, gradcheck.cli.app; assert 'libcst' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
