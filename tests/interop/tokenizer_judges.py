"""glint's byte-level BPE against Hugging Face's tokenizers and OpenAI's tiktoken, through the program: `glint data
prepare` encodes random texts as JSON lines, and the ids in tokens.bin must be theirs; the merges of `glint data
tokenizer` must be BpeTrainer's.
  python tests/interop/tokenizer_judges.py [--glint build/glint] [--texts 3000] [--seed N] [--gpt2 FOLDER]
FOLDER holds GPT-2's vocabulary, encoder.json and vocab.bpe, or vocab.json and merges.txt. Characters that Unicode 14
does not have (that of Python 3.11 and of PCRE2 10.42) are left out: newer libraries cut around them in another way."""

import argparse
import base64
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

try:
    import tiktoken
    import tokenizers
    from tokenizers import Tokenizer, models
except ImportError as missing:
    print(f"tokenizer judges: skipped, {missing.name} is not installed")
    sys.exit(0)

sys.path.insert(0, str(Path(__file__).parent))
from bpe_golden import GPT2_PATTERN, byte_level, ranks_of, trained  # noqa: E402

ROOT = Path(__file__).parent.parent.parent
SPACES = [" ", "  ", "    ", "\t", "\n", "\r\n", "\v", "\f", "\x1c", "\x1f", "\x85", "\xa0", "\u1680", "\u180e",
          "\u2003", "\u200b", "\u2028", "\u202f", "\u3000", "\ufeff"]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "’s", "''s", "'", "'r", "'l", "'v",
                "don't", "I'LL"]
OTHERS = ["😀", "👩‍👩‍👧", "🏳️‍🌈", "é", "e\u0301", "ﬁ", "中文",
          "日本語テキスト", "한국어", "العربية", "हिन्दी",
          "²", "½", "Ⅻ", "١٢٣",
          "<|endoftext|>", "<|end", "|>"]
ASSIGNED = [chr(c) for c in range(1, 0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Co", "Cs")]


def random_text(rng, words, code):
    parts = []
    for _ in range(rng.randint(1, 30)):
        kind = rng.random()
        if kind < 0.25:
            parts.append(rng.choice(words) + rng.choice(["", " "]))
        elif kind < 0.40:
            parts.append("".join(rng.choice(SPACES) for _ in range(rng.randint(1, 6))))
        elif kind < 0.50:
            parts.append(rng.choice(CONTRACTIONS))
        elif kind < 0.60:
            parts.append(rng.choice(OTHERS))
        elif kind < 0.70:
            parts.append(str(rng.randint(0, 10 ** rng.randint(1, 20))))
        elif kind < 0.80:
            start = rng.randrange(len(code) - 60)
            parts.append(code[start:start + rng.randint(1, 60)])
        elif kind < 0.90:
            parts.append("".join(rng.choice(ASSIGNED) for _ in range(rng.randint(1, 8))))
        else:
            parts.append(rng.choice("!?.,-=_#*/ \n\ta") * rng.randint(1, 90))
    return "".join(parts)


def tokens_of(folder):
    data = (folder / "tokens.bin").read_bytes()
    width, train, val = struct.unpack_from("<I", data, 12)[0], *struct.unpack_from("<QQ", data, 24)
    return struct.unpack_from(f"<{train + val}{'H' if width == 2 else 'I'}", data, 256)


class Judges:
    def __init__(self, glint, scratch):
        self.glint, self.scratch, self.passed, self.failed = glint, scratch, 0, 0

    def check(self, name, holds, detail=""):
        self.passed += holds
        self.failed += not holds
        print(f"{'ok  ' if holds else 'FAIL'}  {name} {detail}")

    def run(self, *arguments):
        return subprocess.run([self.glint, *map(str, arguments)], capture_output=True, text=True)

    def encode(self, texts, tokenizer):
        """Ids of each text, and the tokenizer.json that glint has written."""
        lines, out = self.scratch / "texts.jsonl", self.scratch / "encoded"
        lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        done = self.run("data", "prepare", lines, "--tokenizer", tokenizer, "--out", out)
        assert done.returncode == 0, done.stderr
        written = out / "tokenizer.json"
        separator = json.loads(written.read_text())["added_tokens"][0]["id"]
        documents = []
        for token in tokens_of(out):
            documents.append([]) if token == separator else documents[-1].append(token)
        return documents, written

    def judge_ids(self, name, texts, ordinary, ranks, forms):
        """ordinary: of tokenizers, without added tokens."""
        by_tiktoken = tiktoken.Encoding(name, pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={})
        wanted = [ordinary.encode(text).ids for text in texts]
        openais = [by_tiktoken.encode_ordinary(text) for text in texts]
        for form in forms:
            ours, written = self.encode(texts, form)
            for judge, theirs in (("tokenizers", wanted), ("tiktoken", openais)):
                other = [text for text, a, b in zip(texts, ours, theirs) if a != b]
                self.check(f"{name}, {form.name}: ids are those of {judge}", len(ours) == len(texts) and not other,
                           f"({len(texts)} texts, {sum(map(len, ours))} tokens)" if not other else repr(other[0]))
        again = Tokenizer.from_file(str(written))
        plain = [text for text in texts if "<|endoftext|>" not in text]
        same = all(again.encode(text).ids == ordinary.encode(text).ids and again.decode(again.encode(text).ids) == text
                   for text in plain)
        self.check(f"{name}: tokenizers reads the tokenizer.json that glint writes", same)

    def judge_training(self, name, text, vocabulary):
        source, out = self.scratch / "train.txt", self.scratch / "trained.json"
        source.write_text(text, newline="")
        done = self.run("data", "tokenizer", source, "--vocab", vocabulary, "--out", out)
        ours = json.loads(out.read_text())["model"]["merges"] if done.returncode == 0 else done.stderr
        theirs = json.loads(trained(text, vocabulary).to_str())["model"]["merges"]
        equal = sum(1 for a, b in zip(ours, theirs) if a == b)
        self.check(f"{name}: merges of a vocabulary of {vocabulary} are BpeTrainer's", ours == theirs,
                   f"({equal} of {len(theirs)} equal)")


def gpt2_files(folder):
    pairs = [("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt")]
    return next((folder / vocab, folder / merges) for vocab, merges in pairs if (folder / vocab).exists())


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--glint", default=os.environ.get("GLINT", str(ROOT / "build/glint")))
    arguments.add_argument("--texts", type=int, default=3000)
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments.add_argument("--gpt2", type=Path)
    args = arguments.parse_args()
    print(f"tokenizers {tokenizers.__version__}, tiktoken {tiktoken.__version__}, seed {args.seed}")
    rng = random.Random(args.seed)
    golden = ROOT / "tests/data/bpe"
    prose = (golden / "text.txt").read_text()
    code = "".join(path.read_text() for path in sorted((ROOT / "data").glob("*.cpp")))
    texts = [random_text(rng, prose.split(" "), code) + "." for _ in range(args.texts)]  # none is empty
    with tempfile.TemporaryDirectory() as scratch:
        judges = Judges(args.glint, Path(scratch))
        small = byte_level(models.BPE.from_file(str(golden / "vocab.json"), str(golden / "merges.txt")))
        forms = [golden / "tokenizer.json", golden / "small.tiktoken"]
        judges.judge_ids("small", texts, small, ranks_of(small.get_vocab()), forms)
        if args.gpt2:
            vocab, merges = gpt2_files(args.gpt2)
            vocabulary = json.loads(vocab.read_text())
            lines = [tuple(line.split(" ")) for line in merges.read_text().split("\n")[1:] if line]
            ordinary = byte_level(models.BPE(vocab=vocabulary, merges=lines))
            ranks = ranks_of({token: rank for token, rank in vocabulary.items() if token != "<|endoftext|>"})
            form = Path(scratch) / "r50k_base.tiktoken"
            form.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n"
                                    for token, rank in sorted(ranks.items(), key=lambda item: item[1])))
            saved = Path(scratch) / "tokenizer.json"
            ordinary.add_special_tokens(["<|endoftext|>"])
            ordinary.save(str(saved))
            ordinary = byte_level(models.BPE(vocab=vocabulary, merges=lines))
            judges.judge_ids("GPT-2", texts, ordinary, ranks, [vocab, form, saved])
        else:
            print("GPT-2's vocabulary is not compared: give --gpt2 FOLDER")
        judges.judge_training("prose and code", prose + code, 4000)
        judges.judge_training("random texts", "\n".join(texts), 2000)
        bad = Path(scratch) / "bad.txt"
        bad.write_bytes(b"fine\nnot \xff fine, and long enough")
        refused = judges.run("data", "prepare", bad, "--tokenizer", golden, "--out", Path(scratch) / "none")
        judges.check("invalid UTF-8 is refused", refused.returncode != 0 and "line 2, byte 9" in refused.stderr)
    print(f"{judges.passed} passed, {judges.failed} failed")
    sys.exit(judges.failed > 0)


if __name__ == "__main__":
    main()
