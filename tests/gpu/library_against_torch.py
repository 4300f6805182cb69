#!/usr/bin/env python3
"""Compares libglint_attention, through the torch.autograd.Function of torch_attention_example.py, with PyTorch:

    python3 tests/gpu/library_against_torch.py --library build-gpu/libglint_attention.so [--device cpu]

On a GPU with the flash kernel: the same mask for the same seed and offset, errors by FlashAttention's rule (against
float64, at most twice those of PyTorch in the same precision; gradients three times), masks of a CUDA graph, speed as a
ratio. On a CPU with the definition, with the mask by the formula in numpy. The last line is "N passed, N failed".
"""
import argparse
import statistics
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from against_torch import ALLOWED, CPU_CASES, GPU_CASES, Report, largest_error
from bench_torch import GpuClock
from torch_attention import by_definition, by_flash, check_known_masks, keep_mask, visible
from torch_attention_example import RNG_OFFSETS, Library, attention, next_rng


def by_glint(library, x, dtype, rng):
    """out, lse and gradients of a Case of against_torch.py, in PyTorch's shapes (batch, heads, tokens, head size)."""
    tokens_first = lambda tensor: tensor.to(dtype).transpose(1, 2)
    q, k, v = (tokens_first(tensor).detach().requires_grad_() for tensor in (x.q, x.k, x.v))
    out, lse = attention(library, q, k, v, x.p, x.causal, x.scale, rng, with_lse=True)
    gradients = torch.autograd.grad(out, (q, k, v), tokens_first(x.dout))
    named = dict(zip(("out", "dq", "dk", "dv"), (out.detach(), *gradients)))
    return {name: tensor.transpose(1, 2) for name, tensor in named.items()} | dict(lse=lse)


def kept_columns(library, x, dtype, rng, first):
    """Which elements of P's columns from `first` on are kept, (B, T, heads, columns): by equal scores, and the identity
    as V."""
    n = min(x.HS, x.T - first)
    zeros = torch.zeros(x.B, x.T, x.NH, x.HS, dtype=dtype, device=x.q.device)
    v = zeros.clone()
    v[:, first:first + n, :, :n] = torch.eye(n, dtype=dtype, device=v.device)[:, None, :]
    return attention(library, zeros, zeros, v, x.p, rng=rng)[..., :n] != 0


def drawn_mask(library, x, dtype, rng):
    columns = [kept_columns(library, x, dtype, rng, first) for first in range(0, x.T, x.HS)]
    return torch.cat(columns, -1).transpose(1, 2)


def check(library, x, device, dtype, report):
    x.draw(device)
    title = f"{x.title()}, {str(dtype).removeprefix('torch.')}"
    rng, mask, theirs = (x.seed, x.offset), None, None
    if device == "cuda":
        torch.cuda.manual_seed(x.seed)
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        generator.set_offset(x.offset)
        flash, seed, offset, drawn = by_flash(x)
        theirs = flash if dtype == torch.bfloat16 else None
        if x.p > 0:
            generator.set_offset(x.offset)
            rng = next_rng(x.q.transpose(1, 2))
            report.add(title, "seed and offset as PyTorch's flash", rng == (seed, offset), seed=rng[0], offset=rng[1])
    if x.p > 0:
        defined = keep_mask(*rng, x.p, x.B, x.NH, x.T, x.T)
        defined = torch.from_numpy(defined).reshape(x.B, x.NH, x.T, x.T).to(device)
        mask = drawn_mask(library, x, dtype, rng)
        different = (mask != defined).sum().item()
        report.add(title, "mask: the library against the formula", different == 0, different=different)
        if device == "cuda":
            different = ((mask != drawn) & visible(x.T, x.causal, device)).sum().item()
            report.add(title, "mask: the library against PyTorch's flash", different == 0, different=different)
    truth = by_definition(x, mask, torch.float64)
    if theirs is None:
        theirs = by_definition(x, mask, dtype) | dict(lse=by_definition(x, mask, torch.float32)["lse"])
    ours = by_glint(library, x, dtype, rng)
    for name, factor in ALLOWED.items():
        in_fp32 = name == "lse" or dtype == torch.float32  # then a few units in the last place
        slack = 8 * 2.0**-24 * truth[name].abs().max().item() if in_fp32 else 0.0
        error, allowed = largest_error(ours[name], truth[name]), largest_error(theirs[name], truth[name])
        report.add(title, name, error <= factor * allowed + slack, error=error, theirs=allowed)


def check_graph(library, x, report):
    """A CUDA graph reads seed and offset from the device at each replay."""
    x.draw("cuda")
    rng = torch.tensor([x.seed, 0], device="cuda")
    kept_columns(library, x, torch.bfloat16, rng, 0)  # loads the kernels
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = kept_columns(library, x, torch.bfloat16, rng, 0)
    for offset in (0, 4 * RNG_OFFSETS):
        rng[1] = offset
        graph.replay()
        defined = keep_mask(x.seed, offset, x.p, x.B, x.NH, x.T, x.T).reshape(x.B, x.NH, x.T, x.T)[..., :x.HS]
        different = (kept.transpose(1, 2).cpu() != torch.from_numpy(defined)).sum().item()
        report.add(x.title(), "mask: a CUDA graph's replay", different == 0, different=different, offset=offset)


def time_beside_flash(library, T, D, rounds=5, calls=10):
    """Prints milliseconds of PyTorch's flash kernel and glint's, in turn; bf16, causal, dropout 0.1."""
    B, H = max(1, 16384 // T), 2048 // D
    q, k, v, dout = (torch.randn(B, T, H, D, dtype=torch.bfloat16, device="cuda").requires_grad_() for _ in range(4))

    def flash():
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            heads_first = (tensor.transpose(1, 2) for tensor in (q, k, v))
            return F.scaled_dot_product_attention(*heads_first, dropout_p=0.1, is_causal=True)

    glint = lambda: attention(library, q, k, v, dropout=0.1, causal=True)
    times = {}
    for _ in range(rounds):
        for who, call in (("flash", flash), ("glint", glint)):
            out = call()
            gradient = dout.detach().transpose(1, 2) if who == "flash" else dout.detach()
            back = lambda: torch.autograd.grad(out, (q, k, v), gradient, retain_graph=True)
            for direction, work in (("forward", call), ("backward", back)):
                work()
                times.setdefault((who, direction), []).append(GpuClock().milliseconds(work, calls))
    for direction in ("forward", "backward"):
        flash_ms, glint_ms = (statistics.median(times[who, direction]) for who in ("flash", "glint"))
        print(f"T {T}, D {D}, dropout 0.1, {direction}: PyTorch's flash {flash_ms:.3f} ms, glint {glint_ms:.3f} ms, "
              f"ratio {flash_ms / glint_ms:.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, help="libglint_attention.so")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cuda", "cpu"))
    options = parser.parse_args()
    check_known_masks()
    library, report = Library(options.library), Report()
    for x in GPU_CASES if options.device == "cuda" else CPU_CASES:
        for dtype in (torch.bfloat16, torch.float32):
            if dtype == torch.bfloat16 or x.T <= 512:
                check(library, x, options.device, dtype, report)
    if options.device == "cuda":
        check_graph(library, GPU_CASES[0], report)
        for T, D in ((1024, 64), (4096, 64), (1024, 128), (4096, 128)):
            time_beside_flash(library, T, D)
    print(f"{len(report.rows) - report.failed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
