"""What a person sees at the door: help with defaults, colours on a terminal alone, what to type next, exit codes."""

import os
import pty
import subprocess
import sys
import termios

import pytest

from mlproject import terminal
from mlproject.cli import Next, entry_point
from mlproject.config import PROJECT_ROOT
from mlproject.errors import UserError
from mlproject.terminal import spelled

ESCAPE = "\x1b["


def on_a_terminal(*command: str, **environment: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    variables = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | environment
    done = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=variables)
    os.close(theirs)
    pieces = []
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux says so when the other side is closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(ours)
    done.wait(timeout=60)
    return b"".join(pieces).decode()


def made(body):
    """An entry point over a body."""
    return entry_point(own=("gan",), upstream=("data",), references={"data": "data set"})(body)


def ended(command, *arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        command.main(list(arguments))
    return end.value.code


def test_mistakes_are_red_on_a_terminal_and_plain_everywhere_else() -> None:
    command = (sys.executable, str(PROJECT_ROOT / "src" / "train_gan.py"), "--lambda_gp", "three")
    assert on_a_terminal(*command).startswith(f"{ESCAPE}31m{ESCAPE}1merror: ")
    assert ESCAPE not in on_a_terminal(*command, NO_COLOR="1")
    piped = subprocess.run(command, capture_output=True, text=True)
    assert piped.stderr.startswith("error: option: gan.lambda_gp")
    assert ESCAPE not in piped.stdout + piped.stderr


def test_help_is_in_groups_with_ranges_and_the_defaults_of_the_file_that_is_taken(capsys) -> None:
    command = entry_point(own=("evaluation",), upstream=("data",), default_config="eval.yaml")(lambda config: None)
    assert ended(command, "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Intervals and decision threshold. Each also as --evaluation.<name>:" in shown
    assert "--bootstrap INTEGER bootstrap draws by subject [100 to 1,000,000; default: 2000]" in shown
    assert "--data.n_train INTEGER phantom: training subjects [2 to 1,000,000; default: 200]" in shown
    assert "--data.path TEXT folder or manifest.csv to import; unused for the phantom [default: empty]" in shown
    for code, text in terminal.EXIT_CODES.items():
        assert f"{code} {text}" in shown


def test_exit_codes_are_those_that_are_documented(capsys) -> None:
    def raising(error):
        def body(config, data):
            raise error

        return body

    assert ended(made(lambda config, data: None)) == 0
    assert ended(made(raising(UserError("no such thing")))) == 2
    assert capsys.readouterr().err == "error: no such thing\n"
    assert ended(made(raising(KeyboardInterrupt()))) == 130
    with pytest.raises(ZeroDivisionError):  # a traceback: Python itself ends with 1
        made(raising(ZeroDivisionError())).main([])
    assert set(terminal.EXIT_CODES) == {0, 1, 2, 130}


def test_what_to_type_next_takes_along_what_still_holds(capsys, tmp_path, monkeypatch) -> None:
    config = tmp_path / "my settings.yaml"
    config.write_text("gan: {steps: 3}")
    monkeypatch.chdir(PROJECT_ROOT)
    steps = [
        Next("eval_gan", "is it good?", {"generator": "models:/nt-gan/3"}),
        Next("promote", "an alias", {"version": "3"}, same_data=False),
    ]
    given = ["--config", str(config), "--data", "made", "--data.n_train", "9", "--outputs", "there"]
    assert ended(made(lambda config, data: steps), *given, "--lambda_gp", "4", "--reuse", "false") == 0
    lines = capsys.readouterr().out.splitlines()
    shown = lines[lines.index("next:") + 1 :]
    along = f"--config '{config}'"
    data = "--data made --data.n_train 9"
    assert shown[-2:] == [
        f"  python src/eval_gan.py {along} {data} --run.outputs there --generator models:/nt-gan/3  # is it good?",
        f"  python src/promote.py {along} --run.outputs there --version 3  # an alias",
    ]


def test_the_usual_configuration_is_not_repeated_and_no_step_is_no_line(capsys) -> None:
    steps = [Next("eval_gan", "is it good?")]
    ended(made(lambda config, data: steps), "--config", str(PROJECT_ROOT / "configs" / "default.yaml"))
    assert "--config" not in capsys.readouterr().out
    ended(made(lambda config, data: None))
    assert "next:" not in capsys.readouterr().out
    ended(made(lambda config, data: steps), "--dry_run", "true")
    assert "next:" not in capsys.readouterr().out


def test_next_is_spelled_as_this_command_was(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(PROJECT_ROOT)
    options = {"generator": "models:/nt-gan/3", "out": str(PROJECT_ROOT / "outputs" / "a b")}
    expected = "python src/eval_gan.py --generator models:/nt-gan/3 --out 'outputs/a b'"
    assert spelled("eval_gan", options) == expected
    expected = "mlflow run . -e eval_gan --env-manager local -P generator=models:/nt-gan/3 -P 'out=outputs/a b'"
    assert spelled("eval_gan", options, with_mlflow=True) == expected
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "4")
    assert "--env-manager local --experiment-id 4 -P" in spelled("eval_gan", options, with_mlflow=True)
    monkeypatch.chdir(tmp_path)
    assert spelled("eval_gan", {}) == f"python {PROJECT_ROOT / 'src' / 'eval_gan.py'}"


def test_a_run_that_mlflow_started_says_mlflow_run_though_its_run_has_been_taken(monkeypatch, capsys) -> None:
    def body(config, data):
        os.environ.pop("MLFLOW_RUN_ID")  # as the tracking run does when it begins
        return [Next("eval_gan", "is it good?")]

    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")
    ended(made(body))
    assert "mlflow run . -e eval_gan --env-manager local" in capsys.readouterr().out


def test_an_environment_that_is_not_activated_is_named_first(monkeypatch, capsys, tmp_path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "activate").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    for active, told in ((str(tmp_path), False), ("", True)):
        monkeypatch.setenv("VIRTUAL_ENV", active)
        terminal.say_next([Next("compare", "the table")], {})
        assert (f"source {tmp_path}/bin/activate" in capsys.readouterr().out) is told


BAR = """
import sys, time
sys.path.insert(0, {src!r})
from mlproject import progress
progress._SECONDS_BETWEEN_LINES = 0.05
began = time.monotonic()
with progress.bar(40, "generator", "step") as moving:
    for _ in range(40):
        time.sleep(0.005)
        moving.update(1)
print(time.monotonic() - began)
"""


def test_progress_moves_on_a_terminal_and_is_whole_lines_in_a_log() -> None:
    command = (sys.executable, "-c", BAR.format(src=str(PROJECT_ROOT / "src")))
    done = subprocess.run(command, capture_output=True, text=True)
    logged = done.stderr
    assert "\r" not in logged
    lines = logged.splitlines()
    # the first, the last, and between them one every 0.05 seconds at most, however slow the machine is
    assert 2 <= len(lines) <= 2 + float(done.stdout) / 0.05
    assert all(line.startswith("generator:") and "|" in line for line in lines)
    assert "40/40" in lines[-1]
    assert "\r" in on_a_terminal(*command, TERM="xterm").replace("\r\n", "\n")
    assert "\r" not in on_a_terminal(*command, TERM="dumb").replace("\r\n", "\n")
