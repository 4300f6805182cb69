"""glint's tokenizer beside tiktoken and Hugging Face's tokenizers, one thread each, in turn: encoding with a
vocabulary, and making one. Times are of the processor (user and system), so that a busy machine counts less.
  python tests/bench/tokenizer_speed.py TEXT VOCABULARY [--glint build/glint] [--encode-mb 20] [--vocab 8192]
      [--rounds 3]
TEXT: a large file, UTF-8. VOCABULARY: a folder with vocab.json and merges.txt, or encoder.json and vocab.bpe (GPT-2's).
glint's figure of encoding is the whole program's, from the file to tokens.bin; the others encode strings in memory, in
documents of about 100 kB."""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
sys.path.insert(0, str(Path(__file__).parent.parent / "interop"))

import json  # noqa: E402

import tiktoken  # noqa: E402
from bpe_golden import GPT2_PATTERN, byte_level, ranks_of, trained  # noqa: E402
from tokenizer_judges import gpt2_files  # noqa: E402
from tokenizers import models  # noqa: E402

# The pattern in the form that tiktoken uses, which is faster and cuts the same.
TIKTOKEN_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""


def cpu_of(call):
    start = time.process_time()
    call()
    return time.process_time() - start


def cpu_of_program(arguments, threads):
    """Processor seconds, seconds, and the largest resident set in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(arguments, env=os.environ | {"OMP_NUM_THREADS": str(threads)}, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, arguments
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - start, usage.ru_maxrss / 1024


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("text", type=Path)
    arguments.add_argument("vocabulary", type=Path)
    arguments.add_argument("--glint", default="build/glint")
    arguments.add_argument("--encode-mb", type=float, default=20)
    arguments.add_argument("--vocab", type=int, default=8192)
    arguments.add_argument("--rounds", type=int, default=3)
    args = arguments.parse_args()
    whole = args.text.read_bytes()
    text = whole[:int(args.encode_mb * 1e6)].decode(errors="ignore")
    size = len(text.encode())
    documents = [text[i:i + 100_000] for i in range(0, len(text), 100_000)]
    vocab, merges = gpt2_files(args.vocabulary)
    vocabulary = json.loads(vocab.read_text())
    lines = [tuple(line.split(" ")) for line in merges.read_text().split("\n")[1:] if line]
    hf = byte_level(models.BPE(vocab=vocabulary, merges=lines))
    ranks = ranks_of({token: rank for token, rank in vocabulary.items() if token != "<|endoftext|>"})
    openai = tiktoken.Encoding("bench", pat_str=TIKTOKEN_PATTERN, mergeable_ranks=ranks, special_tokens={})
    with tempfile.TemporaryDirectory() as scratch:
        part = Path(scratch) / "part.txt"
        part.write_text(text, newline="")
        prepare = [args.glint, "data", "prepare", "--tokenizer", str(args.vocabulary), "--out", f"{scratch}/out"]
        times = {"glint": [], "glint, all of TEXT": [], "tiktoken": [], "tokenizers": []}
        for _ in range(args.rounds):
            times["glint"].append(cpu_of_program([*prepare, str(part)], 1)[0] / size)
            times["glint, all of TEXT"].append(cpu_of_program([*prepare, str(args.text)], 1)[0] / len(whole))
            times["tiktoken"].append(cpu_of(lambda: [openai.encode_ordinary(d) for d in documents]) / size)
            times["tokenizers"].append(cpu_of(lambda: [hf.encode(d) for d in documents]) / size)
        print(f"encoding {size / 1e6:.1f} MB ({len(whole) / 1e6:.1f} MB in all), MB/s of one core, "
              f"median of {args.rounds}:")
        for name, one in times.items():
            print(f"  {name:20} {1e-6 / statistics.median(one):7.1f}   ({', '.join(f'{1e-6 / t:.1f}' for t in one)})")
        make = [args.glint, "data", "tokenizer", str(args.text), "--vocab", str(args.vocab)]
        make += ["--out", f"{scratch}/t.json"]
        for threads in (1, 2):
            cpu, wall, memory = cpu_of_program(make, threads)
            print(f"making {args.vocab} tokens of {len(whole) / 1e6:.1f} MB, {threads} thread(s): "
                  f"{cpu:.1f} s of processors, {wall:.1f} s, "
                  f"at most {memory:.0f} MB resident, the mapped text among them")
        everything = whole.decode()
        cpu = cpu_of(lambda: trained(everything, args.vocab))
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"tokenizers' BpeTrainer, one thread: {cpu:.1f} s of a processor, "
              f"at most {resident:.0f} MB resident, the text among them")


if __name__ == "__main__":
    main()
