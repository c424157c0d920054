"""The Triton kernels through the compiler for an H100, which needs no GPU: what no interpreter shows."""

from __future__ import annotations

import importlib.util
import re

import pytest
from support import interpreter

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or importlib.util.find_spec("torch") is None,
    reason="torch or triton is not installed (the `test` extra has both on Linux x86-64)",
)

#: Multiplied by tensor cores; float32 would be cut to 10 bits there.
HALVES = ("fp16", "bf16")


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory):
    with interpreter.triton_process(interpret=False, cache=tmp_path_factory.mktemp("triton")) as pool:
        yield pool


@pytest.mark.parametrize(
    ("op", "dtype"),
    [
        pytest.param("novelty", "fp32", marks=pytest.mark.slow),
        pytest.param("novelty", "fp16", marks=pytest.mark.slow),
        pytest.param("novelty", "bf16", marks=pytest.mark.slow),
        ("nearest_cell", "fp16"),
    ],
)
def test_it_compiles_for_an_h100(compiler, op: str, dtype: str) -> None:
    made = compiler.submit(interpreter.compiled, op, dtype).result()
    assert 0 < made["shared"] <= interpreter.SHARED_LIMIT
    assert made["bytes"] > 0
    assert ("wgmma" in made["ptx"]) == (dtype in HALVES)
    assert "tf32" not in made["ptx"]
    # A row's offset in a matrix is row × stride, beyond 2^31 elements for 6 million rows of 384.
    products = re.findall(r"arith\.muli .* : tensor<[^>]*x(i\d+)>", made["ttir"])
    assert products
    assert set(products) == {"i64"}
