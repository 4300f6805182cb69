"""Attention with dropout in PyTorch, for comparison: by its definition, in any precision, with a given mask; and by the
"flash" kernel, which draws FlashAttention-2's mask."""
import hashlib

import numpy
import torch

MASK64 = (1 << 64) - 1


def philox(counter, key, rounds=7):
    """Philox-4x32 (Salmon et al., SC'11) on arrays: counter is four uint64 arrays of 32-bit words, key two numbers."""
    x, y, z, w = counter
    k0, k1 = key
    low = numpy.uint64(0xFFFFFFFF)
    half = numpy.uint64(32)
    for _ in range(rounds):
        p0, p1 = numpy.uint64(0xD2511F53) * x, numpy.uint64(0xCD9E8D57) * z
        x, y, z, w = (p1 >> half) ^ y ^ numpy.uint64(k0), p1 & low, (p0 >> half) ^ w ^ numpy.uint64(k1), p0 & low
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return x, y, z, w


def keep_mask(seed, offset, p, B, H, rows, cols, heads=None):
    """FlashAttention-2's keep mask (B * H, rows, cols), or that of some of the B * H heads. A
    second implementation of kernels/dropout.h, on purpose."""
    heads = list(range(B * H)) if heads is None else heads
    keep_probability = numpy.float32(1) - numpy.float32(p)
    threshold = int(numpy.floor(float(keep_probability) * 255.0))
    block_rows, block_cols = (rows + 15) // 16, (cols + 31) // 32
    lane = numpy.arange(32, dtype=numpy.uint64)
    masks = numpy.empty((len(heads), rows, cols), dtype=bool)
    for n, head in enumerate(heads):
        c = numpy.uint64((offset + 32 * head) & MASK64) + lane  # wraps at 2^64
        grid = (block_rows, block_cols, 32)
        words = philox((numpy.broadcast_to(c & numpy.uint64(0xFFFFFFFF), grid),
                        numpy.broadcast_to(c >> numpy.uint64(32), grid),
                        numpy.broadcast_to(numpy.arange(block_rows, dtype=numpy.uint64)[:, None, None], grid),
                        numpy.broadcast_to(numpy.arange(block_cols, dtype=numpy.uint64)[None, :, None], grid)),
                       (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF))
        # (block row, block column, lane, byte)
        draws = numpy.stack(words, -1).astype("<u4").view(numpy.uint8) <= threshold
        # lane = 4 * (i % 8) + (j % 8) / 2, byte = 8 * (j / 16 % 2) + 4 * (j / 8 % 2) + 2 * (i / 8 % 2) + j % 2
        draws = draws.reshape(block_rows, block_cols, 8, 4, 2, 2, 2, 2)  # ..., i%8, j%8/2, j/16%2, j/8%2, i/8%2, j%2
        draws = draws.transpose(0, 6, 2, 1, 4, 5, 3, 7)
        masks[n] = draws.reshape(16 * block_rows, 32 * block_cols)[:rows, :cols]
    return masks


def check_known_masks():
    """Raises unless the formula gives the known answers of tests/kernels/dropout_test.cpp."""
    for offset, head, kept, digest in [
            (0, 0, 1835, "4f36c0978db842b1956f1eb30925f6b9810b3777a96475daa7afcc3671fddb97"),
            (64, 5, 1852, "f75d1d01520a5f994f0d9071d5b98ac8ffd60e5d4f8c55914b2b49359beb5b2e")]:
        mask = keep_mask(0x1234567890ABCDEF, offset, 0.1, 1, 1, 32, 64, heads=[head])[0]
        packed = numpy.packbits(mask.reshape(-1), bitorder="little").tobytes()
        if mask.sum() != kept or hashlib.sha256(packed).hexdigest() != digest:
            raise AssertionError("keep_mask() does not give the known answers")


def visible(T, causal, device):
    """Which keys are visible to each query, (T, T)."""
    everything = torch.ones(T, T, dtype=torch.bool, device=device)
    return everything.tril() if causal else everything


def by_definition(x, mask, dtype):
    """Output, log-sum-exp and gradients of a Case by the definition, in `dtype`; mask: (B, NH, T, T) or None."""
    q, k, v = (t.detach().to(dtype).requires_grad_() for t in (x.q, x.k, x.v))
    group = x.NH // x.NKV
    scores = (q @ k.repeat_interleave(group, 1).transpose(-1, -2)) * x.scale
    scores = scores.masked_fill(~visible(x.T, x.causal, scores.device), float("-inf"))
    weights = scores.softmax(-1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0) * float(numpy.float32(1) / (numpy.float32(1) - numpy.float32(x.p)))
    out = weights @ v.repeat_interleave(group, 1)
    dq, dk, dv = torch.autograd.grad(out, (q, k, v), x.dout.to(dtype))
    return dict(out=out.detach(), lse=scores.detach().logsumexp(-1), dq=dq, dk=dk, dv=dv)


def by_flash(x):
    """The same by PyTorch's flash kernel, which chooses seed and offset: (results, seed, offset, mask); only
    visible elements of the mask count."""
    q, k, v = (t.detach().requires_grad_() for t in (x.q, x.k, x.v))
    group = x.NH // x.NKV
    results = torch.ops.aten._scaled_dot_product_flash_attention(
        q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1), x.p, x.causal, x.p > 0, scale=x.scale)
    out, lse, state, unused, debug = results[0], results[1], results[6], results[7], results[8]
    dq, dk, dv = torch.autograd.grad(out, (q, k, v), x.dout)
    seed = offset = mask = None
    if x.p > 0:
        # PyTorch 2.6 and later give the state as one tensor of two words, earlier ones as two tensors.
        words = [int(n) & MASK64 for t in (state, unused) for n in t.reshape(-1).cpu().view(torch.int64).tolist()]
        seed, offset = words[:2]
        mask = ~torch.signbit(debug)[..., :x.T, :x.T]  # dropped elements are negative
    return dict(out=out.detach(), lse=lse[..., :x.T], dq=dq, dk=dk, dv=dv), seed, offset, mask
