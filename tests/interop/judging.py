"""What the judges share: glint as a program, a folder for its files, and a count of what holds."""
import importlib
import os
import subprocess
import sys
import tempfile

GLINT, LOGITS = os.environ["GLINT"], os.environ["GLINT_LOGITS"]
counts = {"passed": 0, "failed": 0}


def need(*names):
    """The modules, or the end of this judge."""
    try:
        return [importlib.import_module(name) for name in names]
    except ImportError as error:
        print(f"{os.path.basename(sys.argv[0])}: skipped, {error}")
        sys.exit(0)


def check(holds, what):
    counts["passed" if holds else "failed"] += 1
    print(("ok      " if holds else "FAILED  ") + what, flush=True)


def done():
    print(f"{os.path.basename(sys.argv[0])}: {counts['passed']} passed, {counts['failed']} failed")
    sys.exit(1 if counts["failed"] else 0)


def run(*arguments, program=GLINT, stdin=None, fails=False):
    """Standard output as bytes; of a command that fails, its error."""
    ran = subprocess.run([program, *map(str, arguments)], input=stdin, capture_output=True)
    if fails != (ran.returncode != 0):
        print(" ".join(map(str, arguments)), ran.stdout.decode(), ran.stderr.decode(), file=sys.stderr)
        raise SystemExit(f"{program} ended with {ran.returncode}")
    return ran.stderr.decode() if fails else ran.stdout


def greedy(model, prompt, tokens):
    """The text that glint continues the prompt with."""
    out = run("sample", model, "--prompt", prompt, "--tokens", tokens, "--temperature", 0, "--device", "cpu")
    return out.decode()[:-1]  # sample ends it with a line break


def logits(model, ids):
    """(tokens, V), in fp32."""
    import numpy
    out = run(model, program=LOGITS, stdin=numpy.array(ids, dtype=numpy.int32).tobytes())
    return numpy.frombuffer(out, dtype=numpy.float32).reshape(len(ids), -1)


def folder():
    return tempfile.TemporaryDirectory(prefix="glint-interop-")


TEXT = ('Who tamed the whale?" asked Sara.\n\n"The old digger below the miner\'s hut," said his tiny king. '
        'It\'s  late;\n'
        '\tthe cat sat, the cow ate 17 apples -- naïve café, Привет, 日本語 🙂.\n') * 60


def trained(path, *more, tokenizer="char", text=TEXT):
    """A small run, trained for a moment."""
    with open(path + ".txt", "w", encoding="utf-8") as file:
        file.write(text)
    run("train", "--data", path + ".txt", "--out", path, "--layers", 2, "--heads", 2, "--embd", 64, "--context", 64,
        "--steps", 150, "--warmup", 10, "--lr", 3e-3, "--eval-every", 75, "--tokenizer", tokenizer, "--device", "cpu",
        "--quiet", *more)
    return path
