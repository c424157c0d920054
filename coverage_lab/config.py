"""Typed, frozen configs; unknown keys raise. Loaded at the entrances (CLI, `analyze`, service) only."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from coverage_lab.errors import ConfigError

Config = TypeVar("Config", bound=BaseModel)

EncoderName = Literal["auto", "static", "minilm", "cascade"]

#: What one row of traffic can be; `coverage_lab.traffic.formats` has one module for each but the first two.
TrafficFormat = Literal[
    "auto",
    "table",
    "openai-chat",
    "openai-responses",
    "openai-batch",
    "anthropic-messages",
    "anthropic-batch",
    "litellm",
    "langfuse",
    "helicone",
    "otel-genai",
    "vllm",
    "wildchat",
    "lmsys",
    "phoenix",
    "kong",
    "azure-apim",
]


class Frozen(BaseModel):
    """A typed value that never changes; unknown keys raise."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrafficConfig(Frozen):
    """How traffic is read."""

    format: TrafficFormat = Field(
        default="auto",
        description="what one row of the input is; auto: recognised by the first rows; table: columns as "
        "they are, and the prompt column is plain text",
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description='our column name to the name in the input, for instance `prompt = "request_text"`, or to '
        'its place there as a JMESPath, for instance `prompt = "request.body.messages[-1].content"`; only '
        "for columns that are named differently",
    )
    constants: dict[str, str] = Field(
        default_factory=dict,
        description='our column name to the value that all rows have, for instance `account_id = "acct-7"`, '
        "where the input has no such column",
    )
    path: str | None = Field(
        default=None,
        description="regular expression that finds values in a file's path, each in a group that is named "
        "as our column, for instance `(?P<account_id>[^/]+)/[^/]+$`",
    )
    filter: str | dict[str, str | int | bool | list[str | int]] = Field(
        default_factory=dict,
        description='rows to take: column or path to its value or values, for instance `{ type = "CHAT" }`'
        ", or a JMESPath that is true for them; the others are counted as left out",
    )
    timestamp_unit: Literal["auto", "s", "ms", "us", "ns"] = Field(
        default="auto",
        description="of timestamps that are numbers, since 1970; auto: by their size, which tells seconds to "
        "nanoseconds apart for the years from 2000 to 2100",
    )
    min_used_share: float = Field(
        default=0.5, ge=0, le=1, description="a run that can use a smaller share of its rows has failed"
    )
    timezone: str | None = Field(
        default=None,
        description="IANA zone for timestamps that carry none; without it such timestamps are refused",
    )
    max_prompt_bytes: int = Field(default=500_000, gt=0, description="longer prompts are quarantined")
    as_of: datetime | None = Field(
        default=None, description="'now' for the check against the future; the run's start when not given"
    )
    future_tolerance_s: int = Field(
        default=300, ge=0, description="seconds that a timestamp may lie after 'now'"
    )
    batch_rows: int = Field(default=16_384, gt=0, description="rows held at once while reading")

    @field_validator("as_of")
    @classmethod
    def _zoned(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("as_of needs a time zone, for instance 2026-01-31T00:00:00Z")
        return value


class EncoderConfig(Frozen):
    """Which encoder turns prompts into unit vectors."""

    name: EncoderName = Field(
        default="auto",
        description="auto: static, or minilm where encoder.model names another model",
    )
    model: str | None = Field(
        default=None,
        description="local path or hub name of a sentence-transformers model to use in place of the "
        "packaged MiniLM (needs an atlas that was built with it)",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="auto: minilm runs on cuda where a GPU is found, else on the cpu; static runs on the "
        "cpu unless cuda is asked for, which gives the same vectors",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="of minilm; auto: bfloat16 where the CPU (avx512_bf16, AMX) or the GPU (Ampere or newer, "
        "torch 2.10) is fast in it, else float32; float32 for another `model` and for sentence-transformers",
    )
    engine: Literal["auto", "packed", "sentence-transformers", "openvino"] = Field(
        default="auto",
        description="of minilm; auto: packed (no padding) for BERT models with mean pooling, else "
        "sentence-transformers",
    )
    tokenizer: Literal["auto", "tokenizers", "nanotoken"] = Field(
        default="auto",
        description="of the engines packed and openvino; the same ids from both; auto: "
        "nanotoken (faster) where it is installed and can do the model's tokenizer, else tokenizers",
    )
    batch_tokens: int | None = Field(
        default=None, ge=64, description="of the engines packed and openvino; by device when not given"
    )
    cache_mb: int = Field(
        default=64, ge=0, description="vectors of earlier prompts kept by the engines packed and openvino"
    )
    compile: bool = Field(default=False, description="torch.compile in the packed engine on CUDA")
    batch_size: int = Field(default=64, gt=0, description="texts, of the engine sentence-transformers")


class AtlasConfig(Frozen):
    """Which atlas cells are taken from; the frozen default of the encoder when no path is given."""

    path: Path | None = Field(
        default=None,
        description="folder from `coverage-lab atlas build`; the encoder's own atlas when not given",
    )


class DetectConfig(Frozen):
    """Where verdicts are drawn. The p-values are conformal against benign accounts of similar size."""

    scorecard: Path | None = Field(
        default=None, description="a scorecard's JSON file; the default of the atlas when not given"
    )
    min_prompts: int = Field(default=50, ge=2, description="fewer prompts than this: inconclusive")
    review_p: float = Field(
        default=0.01, gt=0, lt=1, description="a p-value of at most this puts an account up for review"
    )
    watch_p: float = Field(default=0.05, gt=0, lt=1, description="a p-value of at most this has it watched")
    multi_tenant_end_users: int = Field(
        default=20, ge=2, description="this many end users or more make an account multi-tenant"
    )

    @model_validator(mode="after")
    def _ordered(self) -> DetectConfig:
        if self.review_p > self.watch_p:
            raise ValueError(f"review_p ({self.review_p}) must not exceed watch_p ({self.watch_p})")
        return self


class CascadeConfig(Frozen):
    """The first stage of ``encoder.name = "cascade"``; the second is minilm, by the other sections.

    All accounts are judged with the static encoder. Those of at least `detect.min_prompts` prompts whose
    p-value there is at most `escalate_p` are judged again with minilm, which costs some eighty times as much.
    """

    escalate_p: float = Field(
        default=0.005,
        gt=0,
        le=1,
        description="static p-value at which an account is judged again with minilm; 1 = every account",
    )
    atlas: Path | None = Field(
        default=None, description="of the static encoder; the one that ships when not given"
    )
    scorecard: Path | None = Field(
        default=None, description="made for that atlas; the one that ships when neither is given"
    )


class RayConfig(Frozen):
    """Actors of the encode-and-assign stage (`--ray`)."""

    address: str | None = Field(
        default=None,
        description="of a running cluster; when not given, that of RAY_ADDRESS (in a submitted job), else a "
        "local one",
    )
    actors: int = Field(default=1, gt=0, description="actors that judge buckets at the same time")
    num_gpus: float = Field(default=0.0, ge=0, description="GPUs per actor; fractions share one GPU")
    retries: int = Field(
        default=2, ge=0, description="how often a bucket whose actor was lost is given to another"
    )
    start_timeout_s: float = Field(
        default=600.0,
        gt=0,
        allow_inf_nan=False,
        description="how long work may wait while no actor has a place on the cluster, as when all nodes are "
        "gone; loading a model is not waiting",
    )


class JobConfig(Frozen):
    """How the work is cut and how much of the machine it takes."""

    buckets: int | None = Field(default=None, gt=0, le=4096, description="by input size when not given")
    threads: int | None = Field(default=None, gt=0, description="per worker; all cores when not given")
    ray: RayConfig = RayConfig()


class StateConfig(Frozen):
    """What a run with `--state` judges by. Keys of a store come from the environment, never from here."""

    window_days: int = Field(
        default=30, ge=1, le=3660, description="days that an account is judged by, the run's own included"
    )


class CampaignsConfig(Frozen):
    """Groups of accounts that are judged together: one harvest may be spread over many accounts."""

    enabled: bool = Field(
        default=True,
        description="look for campaigns; takes about ten seconds of CPU for ten thousand accounts, and a few "
        "kB of disk an account while the run works",
    )
    min_accounts: int = Field(
        default=4,
        ge=2,
        description="accounts of a campaign at least: three that ask alike are common in ordinary traffic",
    )
    max_accounts: int = Field(
        default=2000,
        ge=2,
        description="accounts of a campaign at most: so many at a time are compared with one another",
    )
    min_prompts: int = Field(
        default=200,
        ge=2,
        description="prompts of a group in all; with fewer the detector sees little more than of one account",
    )
    link_q: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="share of groups that may be alike by chance among those that are judged together",
    )

    @model_validator(mode="after")
    def _ordered(self) -> CampaignsConfig:
        if self.min_accounts > self.max_accounts:
            raise ValueError(
                f"min_accounts ({self.min_accounts}) must not exceed max_accounts ({self.max_accounts})"
            )
        return self


class ReportConfig(Frozen):
    """What `report.html` and the reasons show."""

    max_accounts: int = Field(default=50, ge=1, description="flagged accounts drawn in full")
    show_openings: bool = Field(
        default=False,
        description="name the opening words that count most in the reasons of accounts with a p-value of at "
        "most detect.watch_p: words and word pairs that at least five of an account's prompts open with. "
        "Prompt text then stands in accounts.parquet, flags.parquet and report.html",
    )


class ServiceConfig(Frozen):
    """What `coverage-lab serve` takes on, and from whom. Nothing here changes an answer."""

    max_body_bytes: int = Field(
        default=64 * 2**20, gt=0, description="longest body; beyond it 413. Held in memory until answered"
    )
    max_prompts: int = Field(
        default=50_000,
        gt=0,
        description="prompts of one request; beyond it 413. An account is judged whole, so this bounds how "
        "long one answer can keep others waiting",
    )
    max_accounts: int = Field(default=1_000, gt=0, description="accounts of one request; beyond it 413")
    max_held_bytes: int = Field(
        default=512 * 2**20,
        gt=0,
        description="bodies in memory at once, those still arriving included; beyond it 503",
    )
    max_waiting: int = Field(
        default=200_000,
        gt=0,
        description="prompts that may wait (an account counts as 15 more); beyond it 503 with a Retry-After",
    )
    max_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="share of `max_waiting` that one key may take, so that one caller can't shut out the "
        "others; beyond it 429",
    )
    batch: int = Field(
        default=1_000,
        gt=0,
        description="prompts judged at once (an account counts as 15 more), from as many requests as are "
        "waiting. On CPUs up to eight times as many, as far as two seconds judge them; meanwhile requests of "
        "up to a quarter of this are judged beside. On a GPU a small request waits for at most two of these, "
        "or for one account that is larger",
    )
    header_seconds: float = Field(
        default=10.0, gt=0, allow_inf_nan=False, description="time for a request's head to arrive"
    )
    body_seconds: float = Field(
        default=30.0, gt=0, allow_inf_nan=False, description="time for its body; beyond it 408"
    )
    answer_seconds: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="time from the whole body to the answer; a request that would take longer is refused at "
        "once with 503",
    )
    send_seconds: float = Field(
        default=30.0,
        gt=0,
        allow_inf_nan=False,
        description="time that a client may take no bytes of its answer; then the connection is cut",
    )
    idle_seconds: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="time that a connection may wait between requests",
    )
    grace_seconds: float = Field(
        default=25.0,
        gt=0,
        allow_inf_nan=False,
        description="time that a stop waits for what is being judged; what is queued is answered 503 at once",
    )
    connections: int = Field(
        default=768,
        gt=0,
        description="connections at once; one more takes the place of the one that is idle the longest. Keep "
        "it below the files that the process may open (`ulimit -n`)",
    )
    connections_of_address: int = Field(
        default=256, gt=0, description="connections at once from one address (IPv6: one /64)"
    )
    hosts: tuple[str, ...] = Field(
        default=(),
        description="names that callers may use for this service (`Host`), besides the host listened on, "
        "localhost and plain addresses; others are answered 421",
    )
    keys: Path | None = Field(
        default=None,
        description="file of keys from `coverage-lab service key new`; read anew when it changes",
    )
    tls_cert: Path | None = Field(default=None, description="certificate chain in PEM; without it no TLS")
    tls_key: Path | None = Field(default=None, description="its private key in PEM")
    log: bool = Field(default=True, description="one line of JSON a request on standard error")
    audit: Path | None = Field(
        default=None, description="file to which a line is added of who asked about which accounts"
    )


class RunConfig(Frozen):
    """Everything that the main job can be told. Every field has a default."""

    traffic: TrafficConfig = TrafficConfig()
    encoder: EncoderConfig = EncoderConfig()
    atlas: AtlasConfig = AtlasConfig()
    detect: DetectConfig = DetectConfig()
    cascade: CascadeConfig = CascadeConfig()
    campaigns: CampaignsConfig = CampaignsConfig()
    job: JobConfig = JobConfig()
    state: StateConfig = StateConfig()
    report: ReportConfig = ReportConfig()
    service: ServiceConfig = ServiceConfig()

    def digest(self, *, state: bool = False) -> str:
        """Hex SHA-256 of what an account's numbers depend on: all sections but those that only say how.

        Parameters
        ----------
        state : bool
            Whether days are merged: without, `state` says nothing about the numbers either.
        """
        unused = {"job", "report", "service"}
        if not state:
            unused.add("state")
        if self.encoder.name != "cascade":
            unused.add("cascade")
        return hashlib.sha256(self.model_dump_json(exclude=unused).encode()).hexdigest()

    def with_format(self, name: str) -> RunConfig:
        """Copy with another `traffic.format`.

        Raises
        ------
        ConfigError
            There is no format of that name.
        """
        try:
            traffic = TrafficConfig.model_validate({**self.traffic.model_dump(), "format": name})
        except ValidationError as error:
            raise ConfigError(f"--format: {one_line(error)}") from error
        return self.model_copy(update={"traffic": traffic})

    def with_encoder(self, name: str) -> RunConfig:
        """Copy with another encoder name.

        Raises
        ------
        ConfigError
            There is no encoder of that name.
        """
        try:
            encoder = EncoderConfig.model_validate({**self.encoder.model_dump(), "name": name})
        except ValidationError as error:
            raise ConfigError(f"encoder {one_line(error)}") from error
        return self.model_copy(update={"encoder": encoder})


class EvaluateConfig(Frozen):
    """Everything that `coverage-lab evaluate` can be told. Every field has a default."""

    encoder: EncoderConfig = EncoderConfig(precision="float32")
    together: Path | None = Field(
        default=None,
        description="corpora that share an origin and must not be parted, one group a line "
        "(`configs/together.txt` for this project's own); those that share prompts are found anyway",
    )
    folds: int = Field(default=5, ge=2, description="parts of the corpora, each held out in turn")
    rows: int = Field(
        default=2400,
        ge=50,
        description="prompts kept of each corpus; a harvest is split over 100 accounts from 5000",
    )
    accounts: int = Field(
        default=600, ge=1, description="ordinary accounts, each judged at all sizes it reaches"
    )
    repeats: int = Field(default=1, ge=1, description="harvests of each corpus, on each rung")
    longest: int = Field(default=1000, ge=50, description="prompts of an account at most")
    judge_sizes: tuple[int, ...] | None = Field(
        default=None,
        description="sizes that accounts are judged at, for many accounts in less time; all that they reach "
        "when not given. Models are the same either way",
    )
    baselines: tuple[str, ...] | None = Field(
        default=None, description="published methods to run beside the detector; all when not given"
    )
    cells: tuple[int, int, int] = Field(
        default=(64, 512, 2048), description="cells of each fold's atlas per level, coarse, middle, fine"
    )
    train: int = Field(
        default=2000, ge=1, description="accounts that each fold learns from, besides the harvests"
    )
    seed: int = Field(default=1, ge=0, description="same seed, same results to the byte")

    @field_validator("encoder", mode="before")
    @classmethod
    def _exact(cls, value: object) -> object:
        # Figures are of float32 unless another precision is asked for.
        return {"precision": "float32"} | value if isinstance(value, dict) else value

    def with_options(self, given: Mapping[str, object]) -> EvaluateConfig:
        """Copy with some fields changed.

        Raises
        ------
        ConfigError
            There is no such field, or it can't have that value.
        """
        try:
            return EvaluateConfig.model_validate(self.model_dump() | dict(given))
        except ValidationError as error:
            raise ConfigError(f"option {one_line(error)}") from error


def load_config(path: Path | None) -> RunConfig:
    """Read a run's TOML config file; all defaults when `path` is None.

    Raises
    ------
    ConfigError
        The file is missing, is not TOML, or has an unknown key or a value of the wrong type.
    """
    return _load(path, RunConfig, "run")


def load_evaluate_config(path: Path | None) -> EvaluateConfig:
    """Read a benchmark's TOML config file; all defaults when `path` is None.

    Raises
    ------
    ConfigError
        As `load_config`.
    """
    return _load(path, EvaluateConfig, "evaluate")


def _load(path: Path | None, kind: type[Config], command: str) -> Config:
    if path is None:
        return kind()
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"config {path}: can't be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path}: not valid TOML: {error}") from error
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        listed = f"; `coverage-lab {command} --help` says where the keys are listed"
        raise ConfigError(f"config {path}: {one_line(error, listed=listed)}") from error


def one_line(error: ValidationError, *, listed: str = "") -> str:
    """Return the first problem of a pydantic error as one line that names the key.

    `listed` says, after an unknown key, where the known ones are listed.
    """
    first = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(str(part) for part in first["loc"]) or "(top level)"
    more = error.error_count() - 1
    rest = f" (and {more} more)" if more else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}'{listed}"
    if first["type"] == "missing":
        return f"'{key}' is missing{rest}"
    return f"'{key}': {first['msg']}, got {first['input']!r:.80}{rest}"
