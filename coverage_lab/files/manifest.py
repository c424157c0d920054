"""`run.json`: what a run was made from and what came out, as one typed value; written and read here only."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from coverage_lab.config import Frozen, RunConfig, one_line
from coverage_lab.errors import OutputError
from coverage_lab.files.atomic import as_json, read_json
from coverage_lab.schema import SCHEMA_VERSION

#: The manifest's name in an output folder.
MANIFEST = "run.json"

#: A stage of a run whose wall time is taken.
Stage = Literal["load", "state", "read", "encode_and_judge", "campaigns", "gather", "commit", "report"]


class EncoderUsed(Frozen):
    """The encoder that turned prompts into vectors.

    Attributes
    ----------
    id : str
        Hash of the model.
    device : str
        Where it ran, for instance ``cpu``, or all such places with commas.
    precision : str
        ``float32``, ``bfloat16`` or ``float16``; ``auto`` where it was left to each worker's device.
    """

    name: str
    id: str
    device: str
    precision: str


class AtlasUsed(Frozen):
    """The atlas that cells are of; `sizes` are the cells per level, coarse first."""

    id: str
    sizes: tuple[int, ...]
    description: str


class CalibrationUsed(Frozen):
    """The benign accounts that p-values compare with, and the smallest p-value that they can give."""

    accounts: int
    smallest_p: float


class ScorecardUsed(Frozen):
    """The scorecard that gave the scores; `card` says what it was made from and how good it is."""

    id: str
    calibration: CalibrationUsed
    card: dict[str, str | float | int]


class Escalated(Frozen):
    """What a cascade's second stage had the last word on."""

    accounts: int
    prompts: int


class SecondStage(Frozen):
    """The second stage of a cascade: what it judged with, and how much.

    Attributes
    ----------
    escalate_p : float
        p-value of the first stage at which an account came to this one.
    model : ScorecardUsed or None
        None where no scorecard fits the atlas.
    """

    escalate_p: float
    escalated: Escalated
    encoder: EncoderUsed
    atlas: AtlasUsed
    model: ScorecardUsed | None


class Counts(Frozen):
    """What came in and what came out; `rows_in` is the sum of the other rows.

    Attributes
    ----------
    rows_left_out : int
        Rows that are no prompts: by `traffic.filter`, or by the format (spans of another kind, embeddings).
    rows_same_turn : int
        Further calls of an agent's loop under a user turn that is counted already.
    prompts_repaired : int
        Prompts in which half a surrogate pair was replaced.
    prompts_unreadable : int
        Prompts without readable text: redaction marks, hashes, base64, no letters.
    fields_dropped : dict
        By column that no score uses: unusable values, which are null.
    days : dict
        Usable rows of each day.
    quarantine_reasons : dict
        Rows of each reason (`coverage_lab.schema.QUARANTINE_REASONS`).
    quarantine_details : dict
        The commonest detail of each reason.
    as_of : str
        The run's 'now', ISO 8601: later timestamps were quarantined.
    """

    rows_in: int
    rows_used: int
    rows_quarantined: int
    quarantine_reasons: dict[str, int]
    quarantine_details: dict[str, str] = Field(default_factory=dict)
    accounts: int
    buckets: int
    as_of: str
    rows_left_out: int = 0
    rows_same_turn: int = 0
    prompts_repaired: int = 0
    prompts_unreadable: int = 0
    fields_dropped: dict[str, int] = Field(default_factory=dict)
    days: dict[date, int] = Field(default_factory=dict)


class Discoveries(Frozen):
    """How many accounts stand out of the whole run.

    Attributes
    ----------
    rate : float
        Share of false ones allowed among the discoveries, on average.
    judged : int
        Accounts with a q-value.
    found : int
        Those with q ≤ rate.
    fewest : int
        How many must reach the smallest p together before any is found.
    note : str or None
        A sentence where `fewest` is more than one.
    """

    rate: float
    judged: int
    found: int
    fewest: int
    note: str | None


class CampaignsFound(Frozen):
    """Groups of accounts that were looked at, and what came of them.

    Attributes
    ----------
    proposed : int
        Groups of accounts that are alike in the half of their prompts that groups are found by.
    linked : int
        Those of them that are alike beyond chance in the other half; each was judged as one account.
    verdicts : dict
        Campaigns by verdict; groups that are clear are none.
    members : int
        Accounts in campaigns.
    """

    proposed: int
    linked: int
    verdicts: dict[str, int]
    members: int


class Execution(Frozen):
    """Where and how the work was done; nothing of it changes a table."""

    ray: bool
    threads: int
    machine: str


class StateWindow(Frozen):
    """The days that accounts were judged by: from `first`, so many."""

    first: date
    days: int


class InputFile(Frozen):
    """A file that a day counted: name in the input, SHA-256 of its bytes in hex, size in bytes."""

    name: str
    sha256: str
    bytes: int


class StateRead(Frozen):
    """How much of a state table was read: files and row groups opened, rows and stored bytes in those."""

    files: int
    row_groups: int
    rows: int
    bytes: int


class StateUsed(Frozen):
    """The day that a run counted in a state table.

    Attributes
    ----------
    run : str
        Digest of what the day's states depend on.
    schema_version : int
        Of the states.
    read_version : int
        Version of the table that the run started from.
    files : tuple of InputFile
        What was counted.
    repeated_files : dict
        Name of each file that was left out → name of the one that has its content.
    """

    url: str
    day: date
    run: str
    schema_version: int
    window: StateWindow
    read_version: int
    files: tuple[InputFile, ...]
    repeated_files: dict[str, str]
    read: StateRead


class Manifest(Frozen):
    """What a run was made from and what came out: the content of `run.json`.

    Attributes
    ----------
    run_id : str
        Digest of everything that the tables depend on.
    schema_version : int
        Of the tables (`coverage_lab.schema.SCHEMA_VERSION`).
    created : str
        When the tables were finished, ISO 8601 in UTC.
    input : str
        As the run was given it.
    config_id : str
        Digest of what an account's numbers depend on (`RunConfig.digest`).
    config : RunConfig
        With `auto` replaced by the encoder and the precision that it stands for.
    model : ScorecardUsed or None
        None where no scorecard fits the atlas: there are measures and no scores.
    cascade : SecondStage or None
        None where there was one stage only; else `encoder`, `atlas` and `model` are the first one's.
    verdicts : dict
        Accounts of each of `coverage_lab.schema.VERDICTS`, in that order.
    discoveries : Discoveries or None
        None where nothing was judged.
    campaigns : CampaignsFound or None
        None where none were looked for (`campaigns.enabled`).
    timings : dict
        Wall seconds of each stage, in their order.
    peak_memory_mb : int
        Of this process, in MiB; workers not counted.
    versions : dict
        Of this package, Python and the libraries that are installed.
    format : str
        What the input's rows were taken for: a `traffic.format`, or `messages`, a table whose prompt column
        holds chat messages.
    format_note : str or None
        The same in a sentence, where the prompt is not a column's plain text.
    skipped_files : dict
        Files beside the traffic that hold something else, or the same as another, with the reason; also those
        that the input names more than once, which are read once.
    changed_files : dict
        Files in which many neighbouring rows can't be used, as where a log changes its shape, in a sentence.
    state : StateUsed or None
        None for a run without state: `run.json` lacks the key then.
    """

    run_id: str
    schema_version: int
    created: str
    input: str
    config_id: str
    config: RunConfig
    encoder: EncoderUsed
    atlas: AtlasUsed
    model: ScorecardUsed | None
    cascade: SecondStage | None
    counts: Counts
    verdicts: dict[str, int]
    discoveries: Discoveries | None
    timings: dict[Stage, float]
    peak_memory_mb: int
    execution: Execution
    versions: dict[str, str]
    format: str = "table"
    format_note: str | None = None
    skipped_files: dict[str, str] = Field(default_factory=dict)
    changed_files: dict[str, str] = Field(default_factory=dict)
    campaigns: CampaignsFound | None = None
    state: StateUsed | None = None

    def __getitem__(self, name: str) -> object:
        """Value that `run.json` has under a key."""
        return self.model_dump(mode="json")[name]

    def to_json(self) -> str:
        """Text of `run.json`."""
        return as_json(self.model_dump(mode="json", exclude={"state"} if self.state is None else None))


def read_manifest(path: Path) -> Manifest:
    """Read a `run.json`.

    Raises
    ------
    OutputError
        In one line: it can't be read, or is not what this version writes (an older one, edited, damaged).
    """
    raw = read_json(path)
    version = raw.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise OutputError(
            f"{path}: expected a run's manifest of schema version {SCHEMA_VERSION}, got {version!r:.20}; "
            "run again with --overwrite"
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        raise OutputError(
            f"{path}: not a run's manifest of this version: {one_line(error)}; run again with --overwrite"
        ) from error
