"""Every kernel op takes torch tensors: the numbers of arrays, as tensors on the device of what was given."""

import subprocess
import sys

import numpy as np
import pytest
from coverage_kernels import tensors
from coverage_kernels.causal_novelty import causal_novelty
from coverage_kernels.growth_curves import growth_curves
from coverage_kernels.nearest_cell import nearest_cell
from coverage_kernels.pitman_yor import pitman_yor
from coverage_kernels.rarefaction import rarefaction
from support import interpreter

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(3)
OFFSETS = np.array([0, 1, 1, 40, 101])
CELLS = RNG.integers(0, 30, 101)
GRID, GRID_OFFSETS = np.array([1, 1, 20, 39, 2, 61]), np.array([0, 1, 1, 4, 6])
SIZE, FREQUENCY, COUNT_OFFSETS = np.array([1, 3, 1, 2, 9]), np.array([4, 1, 2, 2, 1]), np.array([0, 2, 5])
SIZE_GRID, SIZE_GRID_OFFSETS = np.array([1, 7, 2, 15]), np.array([0, 2, 4])


def units(rows, dtype="float32", dim=24):
    matrix = RNG.standard_normal((rows, dim))
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(dtype)


def same(found, expected):
    """Tensors of the CPU with the dtypes and numbers of arrays."""
    assert len(found) == len(expected)
    for tensor, array in zip(found, expected, strict=True):
        assert isinstance(array, np.ndarray)
        assert isinstance(tensor, torch.Tensor)
        assert tensor.device.type == "cpu"
        assert tensor.numpy().dtype == array.dtype
        np.testing.assert_array_equal(tensor.numpy(), array)


def given(*arrays):
    return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("with_history", [False, True])
def test_novelty(dtype, with_history):
    rows, past, past_offsets = units(101, dtype), units(9, dtype), np.array([0, 0, 2, 9, 9])
    arrays = {"history": past, "history_offsets": past_offsets} if with_history else {}
    expected = causal_novelty(rows, OFFSETS, **arrays, backend="cpu")
    there = {name: torch.from_numpy(array) for name, array in arrays.items()}
    same(causal_novelty(*given(rows, OFFSETS), **there, backend="cpu"), expected)
    same(
        causal_novelty(torch.from_numpy(rows), OFFSETS.tolist(), **there),
        causal_novelty(rows, OFFSETS, **arrays),
    )


def test_nearest_cell():
    rows, centroids, parents = units(50), units(12), np.stack([np.arange(12) // 4, np.arange(12)])
    expected = nearest_cell(rows, centroids, parents=parents, backend="cpu")
    found = nearest_cell(*given(rows, centroids), parents=torch.from_numpy(parents), backend="cpu")
    same(found, expected)
    assert found._fields == expected._fields
    same(nearest_cell(*given(rows, centroids)), nearest_cell(rows, centroids))


def test_growth_curves():
    arrays = (CELLS, OFFSETS, GRID, GRID_OFFSETS)
    same([growth_curves(*given(*arrays))], [growth_curves(*arrays)])


def test_rarefaction():
    arrays = (SIZE, FREQUENCY, COUNT_OFFSETS, SIZE_GRID, SIZE_GRID_OFFSETS)
    same([rarefaction(*given(*arrays))], [rarefaction(*arrays)])


def test_pitman_yor():
    arrays = (SIZE, FREQUENCY, COUNT_OFFSETS)
    found, expected = pitman_yor(*given(*arrays)), pitman_yor(*arrays)
    same(found, expected)
    assert found._fields == expected._fields


def test_bfloat16_which_numpy_lacks():
    rows = torch.from_numpy(units(101)).bfloat16()
    same(causal_novelty(rows, OFFSETS), causal_novelty(rows.float().numpy(), OFFSETS))
    centroids = torch.from_numpy(units(5))
    same(nearest_cell(rows, centroids), nearest_cell(rows.float().numpy(), centroids.numpy()))


def test_strides_gradients_and_nothing_at_all():
    rows = torch.from_numpy(units(24).T.copy()).T
    assert not rows.is_contiguous()
    same(causal_novelty(rows, [0, 24]), causal_novelty(rows.numpy(), [0, 24]))
    learnt = rows.clone().requires_grad_()
    same(causal_novelty(learnt, [0, 24]), causal_novelty(rows.numpy(), [0, 24]))
    same(nearest_cell(learnt, rows[:3]), nearest_cell(rows.numpy(), rows[:3].numpy()))
    none = np.empty((0, 4), np.float32)
    same(causal_novelty(torch.from_numpy(none), [0]), causal_novelty(none, [0]))


def test_input_is_not_written_to():
    rows = torch.from_numpy(units(101))
    before = rows.clone()
    causal_novelty(rows, OFFSETS)
    nearest_cell(rows, rows[:4])
    assert torch.equal(rows, before)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: causal_novelty(2 * torch.eye(3), [0, 3]),
            "vectors: expected rows of norm 1, got 2 in row 0",
        ),
        (
            lambda: causal_novelty(torch.eye(3) / 0, [0, 3]),
            "vectors: expected rows of norm 1, got nan in row 0",
        ),
        (
            lambda: causal_novelty(torch.eye(3).int(), [0, 3]),
            r"vectors: expected floats .*, got torch.int32 of shape \(3, 3\)",
        ),
        (
            lambda: causal_novelty(torch.ones(3), [0, 3]),
            r"vectors: expected floats .*, got torch.float32 of shape \(3,\)",
        ),
        (
            lambda: causal_novelty(torch.eye(3), torch.tensor([0, 2])),
            r"offsets: expected to end at the number of rows \(3\)",
        ),
        (
            lambda: causal_novelty(torch.eye(3), [0, 3], history=torch.zeros(1, 3), history_offsets=[0, 1]),
            "history: expected rows of norm 1, got 0 in row 0",
        ),
        (
            lambda: nearest_cell(torch.eye(2) / 0, torch.eye(2)),
            "vectors: expected finite rows, got another in row 0",
        ),
        (
            lambda: nearest_cell(torch.eye(2), torch.eye(3)),
            "vectors: expected rows of length 3 like centroids, got 2",
        ),
        (
            lambda: nearest_cell(torch.eye(2), torch.eye(2), parents=torch.eye(2)),
            r"parents: expected integers of shape \(levels, 2\)",
        ),
        (lambda: growth_curves(torch.ones(2), [0, 2], torch.tensor([1]), [0, 1]), "cells: expected integers"),
        (lambda: pitman_yor(torch.ones(2), torch.ones(2), [0, 2]), r"r: expected integers of shape \(k,\)"),
    ],
)
def test_what_is_wrong_with_a_tensor_is_said(call, said):
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.skipif(sys.platform != "linux", reason="Triton is made for Linux only")
def test_triton_gives_tensors_where_they_were(interpreted):
    """In Triton's interpreter: two kinds, of which one is narrowed, with and without history."""
    rows, past, centroids = units(40, dim=32), units(6, dim=32), units(7, dim=32)
    parents = np.stack([np.arange(7) // 3, np.arange(7)])
    for dtype in ("float64", "bfloat16"):
        answers = interpreted.submit(interpreter.on_tensors, rows, past, centroids, parents, dtype).result()
        for kind, found, expected, gap in answers:
            assert kind == "Tensor on cpu", dtype
            np.testing.assert_allclose(found, expected, rtol=0, atol=gap, err_msg=dtype)


def test_arrays_do_not_wait_for_torch():
    program = """
import sys
import numpy as np
from coverage_kernels.causal_novelty import causal_novelty
from coverage_kernels.nearest_cell import nearest_cell
from coverage_kernels.pitman_yor import pitman_yor
causal_novelty(np.eye(3), [0, 3], backend="cpu")
nearest_cell(np.eye(3), np.eye(3), backend="cpu")
pitman_yor(np.array([1]), np.array([2]), [0, 1])
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_tensor_shares_its_memory_with_the_array():
    tensor = torch.arange(5)
    array = tensors.as_array(tensor)
    tensor[2] = 9
    assert array[2] == 9


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_tensors_of_a_gpu_get_their_answer_there():
    rows, centroids = units(101), units(12)
    there = torch.from_numpy(rows).cuda()
    for backend in ("triton", "cpu"):
        novelty, nearest = causal_novelty(there, OFFSETS, backend=backend)
        expected = causal_novelty(rows, OFFSETS, backend="cpu")
        assert novelty.is_cuda
        assert nearest.is_cuda
        np.testing.assert_allclose(novelty.cpu(), expected[0], rtol=0, atol=2e-6)
        found = nearest_cell(there, torch.from_numpy(centroids).cuda(), backend=backend)
        assert all(part.is_cuda for part in found)
        np.testing.assert_array_equal(found.cells.cpu(), nearest_cell(rows, centroids, backend="cpu").cells)
    curves = growth_curves(
        torch.from_numpy(CELLS).cuda(), OFFSETS, torch.from_numpy(GRID).cuda(), GRID_OFFSETS
    )
    assert curves.is_cuda
