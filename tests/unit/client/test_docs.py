"""The pages hold together: links lead somewhere, indexes are whole, the page of the command names every command."""

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from typer.main import get_command

from gyrostat_client.cli.app import app

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


def test_every_page_and_decision_is_in_its_index():
    index = (ROOT / "docs/README.md").read_text()
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in index] == ["README.md"]
    decisions = (ROOT / "docs/adr/README.md").read_text()
    assert [page.name for page in (ROOT / "docs/adr").glob("0*.md") if f"({page.name})" not in decisions] == []


def test_decision_numbers_are_given_once():
    numbers = [page.name[:4] for page in (ROOT / "docs/adr").glob("0*.md")]
    assert len(numbers) == len(set(numbers))


def test_the_page_of_the_command_names_every_command():
    page = (ROOT / "docs/cli.md").read_text()
    for name, command in get_command(app).commands.items():
        assert f"`{name}" in page, name
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}")), "")
        for verb in getattr(command, "commands", {}):
            assert verb in row, f"{name} {verb}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_a_page_can_be_typed(page):
    root = get_command(app)
    everywhere = {option for parameter in root.params for option in parameter.opts}
    typed = r"(?m)(?:\.venv/bin/|`|^\s*)gyrostat ([a-z][a-z-]*(?: [a-z][a-z-]*)?)\b([^`#\n]*)"
    for words, rest in re.findall(typed, page.read_text()):
        command = root
        for word in words.split():
            if hasattr(command, "commands"):
                assert word in command.commands, f"gyrostat {words}"
                command = command.commands[word]
        params = command.params
        known = everywhere | {option for one in params for option in (*one.opts, *one.secondary_opts)}
        assert set(re.findall(r"(?<=\s)--[a-z-]+", rest)) <= known | {"--help"}, f"gyrostat {words}{rest}"


def test_the_model_of_the_readme_can_be_made_and_asked(tmp_path, monkeypatch):
    script = re.search(r"python - <<END[^\n]*\n(.*?)\nEND\n", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "build").mkdir()
    monkeypatch.chdir(tmp_path)
    exec(script.group(1), {})
    session = onnxruntime.InferenceSession("build/fraud.onnx")
    row = {"amount": np.array([[12.5]], np.float32), "country": np.array([["CH"]], object)}
    (probabilities,) = session.run(["probabilities"], row)
    assert probabilities.shape == (1, 2)
    assert abs(float(probabilities.sum()) - 1) < 1e-6
