"""Sampling from GPT-2 124M on a CPU: glint against transformers with its KV cache, both with random weights, in turn.

    python tests/bench/sampling_transformers.py build/glint [--count 1] [--tokens 64] [--rounds 5] [--threads 2]

Prints the medians of tokens per second over all texts, without the prompt's time, and their ratio.
"""

import argparse
import json
import statistics
import subprocess
import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel

parser = argparse.ArgumentParser()
parser.add_argument("glint")
parser.add_argument("--count", type=int, default=1, help="texts side by side")
parser.add_argument("--prompt", type=int, default=16, help="tokens of the prompt")
parser.add_argument("--tokens", type=int, default=64)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()

torch.set_num_threads(args.threads)
config = GPT2Config()
model = GPT2LMHeadModel(config).eval()
prompt = (torch.arange(args.prompt) * 7 % config.vocab_size).repeat(args.count, 1)


def transformers_seconds(tokens):
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=True,
            top_k=0,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            pad_token_id=config.eos_token_id,
            use_cache=True,
        )
    assert out.shape == (args.count, args.prompt + tokens)
    return time.perf_counter() - start


def transformers_rate():
    seconds = transformers_seconds(args.tokens) - transformers_seconds(1)
    return args.count * (args.tokens - 1) / seconds


def glint_rate():
    shape = "--layers 12 --heads 12 --embd 768 --context 1024 --vocab 50257 --bias true --activation tanh"
    command = [args.glint, "bench", "sample", *shape.split(), "--device", "cpu", "--threads", str(args.threads)]
    command += ["--count", str(args.count), "--prompt", str(args.prompt), "--tokens", str(args.tokens)]
    result = subprocess.run([*command, "--repeats", "1", "--json"], check=True, capture_output=True, text=True)
    return json.loads(result.stdout)["tokens_per_s_of_all"]


transformers_seconds(4)
glint, transformers = [], []
for _ in range(args.rounds):
    glint.append(glint_rate())
    transformers.append(transformers_rate())
ratio = statistics.median(a / b for a, b in zip(glint, transformers))
print(f"{args.count} texts: glint {statistics.median(glint):.2f}, transformers {statistics.median(transformers):.2f} "
      f"tokens/s; ratio {ratio:.2f} (rounds: {', '.join(f'{a / b:.2f}' for a, b in zip(glint, transformers))})")
