"""Every notebook runs from top to bottom, and is committed without outputs."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def outputs_of(path: Path) -> list[nbformat.NotebookNode]:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def printed_by(outputs: list[nbformat.NotebookNode]) -> str:
    return "".join(output.get("text", "") for output in outputs)


def numbers_of(printed: str, row: str) -> list[float]:
    """Numbers of the printed row that begins with `row`."""
    lines = [line for line in printed.splitlines() if line.startswith(f"{row} ")]
    assert len(lines) == 1, row
    return [
        float(number.replace(",", ""))
        for number in re.findall(r"(?<=\s)[\d,.e+]+(?=\s|$)", lines[0][len(row) :])
    ]


@pytest.mark.slow
def test_first_report_runs():
    outputs = outputs_of(FOLDER / "01_first_report.ipynb")
    assert any("application/vnd.plotly.v1+json" in output.get("data", {}) for output in outputs)
    printed = printed_by(outputs)
    assert (
        len(
            re.findall(
                r"^acct-\d+ +\d+ [01]\.\d\d 0\.\d{3} (?:clear|watch|review|inconclusive)", printed, re.M
            )
        )
        == 10
    )
    assert "harvesting: " in printed, "reasons are shown"


@pytest.mark.slow
def test_chapter_on_growth_curves_gives_the_published_estimates():
    outputs = outputs_of(FOLDER / "02_growth_curves.ipynb")
    printed = printed_by(outputs)
    assert "D(1..6) = [1, 1, 2, 2, 3, 3]" in printed
    # By hand: 3 − (3 + 6 + 10)/15 of the pairs miss.
    assert "E[D(2)] = 1.7333" in printed
    pairs = re.findall(r"ours +([\d.]+) +iNEXT +([\d.]+)", printed)
    assert len(pairs) == 8
    assert all(ours == theirs for ours, theirs in pairs)
    pictures = [output["data"]["text/html"] for output in outputs if "data" in output]
    assert len(pictures) == 2
    assert all(picture.startswith('<img src="data:image/png') for picture in pictures)
    orders = [float(number) for number in re.findall(r"order_z +([+-][\d.]+)", printed)]
    assert orders[0] > 2 > abs(orders[1])
    assert orders[2] < -5


@pytest.mark.slow
def test_chapter_on_look_alikes_shows_what_it_says():
    outputs = outputs_of(FOLDER / "04_look_alikes.ipynb")
    printed = printed_by(outputs)
    accounts, _, cells, score, flagged = zip(
        *(numbers_of(printed, kind) for kind in ("multi_tenant   ", "harvest        ", "person         ")),
        strict=True,
    )
    assert accounts == (1, 1, 15)
    assert cells[0] >= cells[1] > 5 * cells[2], "the reseller is as broad as the harvest"
    assert score[1] > 0.8 > score[0], "and its score is lower"
    assert flagged == (0, 1, 0)
    assert "evaluation_run: review" in printed, "the false alarm that the text tells of"
    assert re.search(r"campaign-\w+: (watch|review), 1\d accounts, 10 of the 10", printed)
    pictures = [
        output["data"]["text/html"]
        for output in outputs
        if "<img" in output.get("data", {}).get("text/html", "")
    ]
    assert len(pictures) == 1


def test_scale_model_gives_what_a_hand_calculation_gives():
    printed = printed_by(outputs_of(FOLDER / "03_scale_model.ipynb"))

    # 5e9 / (691,354 / 11.24 * 0.922) = 88,167 s of reading, 5e9 / (6,000 * 0.9565) = 871,232 s of the rest
    assert numbers_of(printed, "static for all") == [11.1, 66.6]  # 959,399 s over 86,400 and 14,400
    # 5e9 * 30 / (561,565 / 2.39) = 638,395 s more
    assert numbers_of(printed, "the same, judged by 30 merged days") == [18.5, 111.0]
    # 5% of 5e9 at 80/s are 3,125,000 s more
    assert numbers_of(printed, "cascade, 5.0% escalated") == [47.3, 283.6]
    # 5e9 / 50,000 = 100,000 s
    assert numbers_of(printed, "A100, TensorRT, short prompts: public figure, not measured by us") == [
        1.16,
        6.94,
    ]
    # 10 million accounts of 17,814 bytes: 0.17814 TB a day, for 29 days
    assert numbers_of(printed, "states of the window read") == [5.166]

    # 436 MB + 10,000,000 * (200 + 2 * 6,000 / 256) bytes = 2.905 GB, of 64 GB
    assert numbers_of(printed, "driver memory")[:4] == [2.9e9, 6.4e10, 0.05, 257.5]
    # 2,048 shares * 4,096 buckets, written and opened, of 1,000 a second for four hours
    assert numbers_of(printed, "work files")[:3] == [1.68e7, 1.44e7, 1.17]


@pytest.mark.slow
def test_scale_model_ranks_what_breaks_by_share_of_its_limit():
    printed = printed_by(outputs_of(FOLDER / "03_scale_model.ipynb"))
    table = printed[printed.index("breaks at") :].splitlines()[1:]
    names = [re.split(r" {2,}|(?<=\w) (?=\d)", line)[0] for line in table if line]
    assert names == ["work files", "worker memory", "state reads", "network", "driver memory"]
    rows = [numbers_of(printed, name) for name in names]
    shares = [row[2] for row in rows]
    assert shares == sorted(shares, reverse=True)
    assert shares == pytest.approx([need / limit for need, limit, *_ in rows], abs=0.01)
    breaks = [float(found) for found in re.findall(r"([\d.]+) M accounts", printed)]
    assert breaks == sorted(breaks), "what is fuller breaks at a smaller day"
    assert [at < 10 for at in breaks] == [share > 1 for share in shares[: len(breaks)]]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)


def test_each_notebook_has_its_test():
    assert [path.stem for path in NOTEBOOKS] == [
        "01_first_report",
        "02_growth_curves",
        "03_scale_model",
        "04_look_alikes",
    ]
