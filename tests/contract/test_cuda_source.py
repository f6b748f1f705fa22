"""The kernels are the same source on CUDA: they must compile for it, which needs no GPU."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import warp as wp

from calczoo.core.warp_base import KERNELS, init_warp
from calczoo.families.hdnnp.kernels import _kernel as hdnnp_kernel
from calczoo.families.mtp.kernels import _kernel as mtp_kernel
from calczoo.families.snap.kernels import _kernel as snap_kernel
from contract.examples import all_examples

HOST_ONLY = {"place_pairs"}


def _family_examples():
    """One example per family is enough to make its kernels."""
    return list({e.family: e for e in all_examples()}.values())


@pytest.mark.slow
def test_kernels_compile_for_cuda(tmp_path):
    init_warp()
    for example in _family_examples():
        for dtype in ("float64", "float32"):
            calc = example.calculator(backend="warp", dtype=dtype)
            calc.evaluate([example.structure()], ("energy", "forces", "stress"))
    kernels = {name: k for name, k in KERNELS.items() if name not in HOST_ONLY and not name.endswith(("_8", "_16"))}
    for dtype in (torch.float64, torch.float32):  # on CUDA a block is one atom, for NNPs one neighbour of it
        for make in (snap_kernel, mtp_kernel, partial(hdnnp_kernel, "values"), partial(hdnnp_kernel, "pull")):
            kernel = make(dtype, 1)
            kernels[kernel.key] = kernel
    assert len(kernels) > 10
    for name, kernel in kernels.items():
        wp.compile_aot_module(kernel.module, arch=80, module_dir=tmp_path / name, use_ptx=True)
        assert list((tmp_path / name).glob("*.ptx")), name
