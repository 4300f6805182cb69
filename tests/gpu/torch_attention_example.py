"""glint's attention in PyTorch: a torch.autograd.Function over libglint_attention.so (kernels/attention_c.h) by ctypes.

    library = Library("build/libglint_attention.so")
    out = attention(library, q, k, v, dropout=0.1, causal=True)    # (batch, tokens, heads, head size)

Works for tensors on a CPU and, if the library was built with CUDA, on a GPU. library_against_torch.py compares it with
PyTorch's own kernels.
"""
import ctypes
from contextlib import nullcontext

import torch

RNG_OFFSETS = 32  # that a call uses for each head of each sequence


class Array(ctypes.Structure):  # glint_attention_array
    _fields_ = [("data", ctypes.c_void_p)] + [(f"{of}_stride", ctypes.c_int64) for of in ("batch", "token", "head")]

    def __init__(self, tensor):
        if tensor.stride(-1) != 1:
            raise ValueError("the channels of a head have to be contiguous")
        super().__init__(tensor.data_ptr(), *tensor.stride()[:3])


class Arguments(ctypes.Structure):  # glint_attention_arguments
    _fields_ = ([("size", ctypes.c_size_t)] +
                [(name, ctypes.c_int32) for name in ("device", "dtype", "batch", "queries", "keys", "heads",
                                                     "kv_heads", "head_size", "causal", "threads")] +
                [("scale", ctypes.c_float), ("dropout", ctypes.c_float),
                 ("seed", ctypes.c_uint64), ("offset", ctypes.c_uint64),
                 ("seed_pointer", ctypes.c_void_p), ("offset_pointer", ctypes.c_void_p)] +
                [(name, Array) for name in ("q", "k", "v", "out")] + [("lse", ctypes.c_void_p)] +
                [(name, Array) for name in ("dout", "dq", "dk", "dv")] +
                [("workspace", ctypes.c_void_p), ("workspace_size", ctypes.c_size_t), ("stream", ctypes.c_void_p)])


class Library:
    def __init__(self, path):
        self.functions = ctypes.CDLL(path)
        self.functions.glint_attention_error.restype = ctypes.c_char_p

    def check(self, status):
        if status != 0:
            raise RuntimeError(f"libglint_attention: {self.functions.glint_attention_error().decode()}")

    def run(self, direction, arguments, device):
        """direction: "forward" or "backward", on PyTorch's current stream, in memory of PyTorch's."""
        arguments.size = ctypes.sizeof(arguments)
        on_gpu = device.type == "cuda"
        with torch.cuda.device(device) if on_gpu else nullcontext():
            sizes = dict(forward=ctypes.c_size_t(), backward=ctypes.c_size_t())
            self.check(self.functions.glint_attention_workspace(ctypes.byref(arguments),
                                                                *(ctypes.byref(size) for size in sizes.values())))
            workspace = torch.empty(sizes[direction].value, dtype=torch.uint8, device=device)
            arguments.workspace, arguments.workspace_size = workspace.data_ptr(), workspace.numel()
            arguments.stream = torch.cuda.current_stream().cuda_stream if on_gpu else None
            self.check(getattr(self.functions, f"glint_attention_{direction}")(ctypes.byref(arguments)))


class Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, library, q, k, v, dropout, causal, scale, rng):
        batch, tokens, heads, head_size = q.shape
        out = torch.empty_like(q)
        lse = torch.empty(batch, heads, tokens, dtype=torch.float32, device=q.device)
        a = Arguments(device=int(q.device.type == "cuda"), dtype=int(q.dtype == torch.bfloat16), batch=batch,
                      queries=tokens, keys=k.shape[1], heads=heads, kv_heads=k.shape[2], head_size=head_size,
                      causal=causal, scale=scale, dropout=dropout, threads=torch.get_num_threads(),
                      q=Array(q), k=Array(k), v=Array(v), out=Array(out), lse=lse.data_ptr())
        if isinstance(rng, torch.Tensor):
            a.seed_pointer, a.offset_pointer = rng.data_ptr(), rng.data_ptr() + 8
        else:
            a.seed, a.offset = rng
        library.run("forward", a, q.device)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.library, ctx.arguments, ctx.rng = library, a, rng
        ctx.mark_non_differentiable(lse)
        return out, lse

    @staticmethod
    def backward(ctx, dout, _):
        q, k, v, out, lse = ctx.saved_tensors
        dout = dout.contiguous()
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        a = ctx.arguments
        a.dout, a.dq, a.dk, a.dv = Array(dout), Array(dq), Array(dk), Array(dv)
        ctx.library.run("backward", a, q.device)
        return None, dq, dk, dv, None, None, None, None


def next_rng(q):
    """Seed and offset of a call: what PyTorch's generator would give to its flash kernel. It is advanced as by that."""
    if q.device.type == "cpu":
        return int(torch.randint(2**63 - 1, ())), 0
    generator = torch.cuda.default_generators[q.device.index]
    offset = generator.get_offset()
    generator.set_offset(offset + RNG_OFFSETS * q.shape[0] * q.shape[2])
    return generator.initial_seed(), offset


def attention(library, q, k, v, dropout=0.0, causal=False, scale=0.0, rng=None, with_lse=False):
    """q (batch, tokens, heads, head size); k, v (batch, keys, kv heads, head size); bf16 or fp32. rng: (seed, offset),
    or a tensor of these two int64 on q's device, for CUDA graphs; None: PyTorch's generator. scale 0: the default."""
    if not (q.dtype == k.dtype == v.dtype and q.dtype in (torch.bfloat16, torch.float32)):
        raise ValueError("q, k and v have to be of one type, bf16 or fp32")
    if not (q.device == k.device == v.device) or k.shape != v.shape or k.shape[::3] != q.shape[::3]:
        raise ValueError("q, k and v do not match in device or shape")
    if rng is None:
        rng = next_rng(q) if dropout > 0 else (0, 0)
    out, lse = Attention.apply(library, q, k, v, dropout, causal, scale, rng)
    return (out, lse) if with_lse else out
