"""Makes tests/data/bpe/ again from its text.txt: a small byte-level BPE by Hugging Face's BpeTrainer, in each of the
forms that glint reads, and ids.json, texts with the ids that tokenizers and tiktoken give.
They were made with tokenizers
0.23.3 and tiktoken 0.14.0.
  python tests/interop/bpe_golden.py        needs tokenizers and tiktoken"""

import base64
import json
from pathlib import Path

import tiktoken
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

FOLDER = Path(__file__).parent.parent / "data" / "bpe"
VOCABULARY = 512
GPT2_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
TEXTS = [
    "Hello world, it's we'll they've I'M don't 'tis ''s",
    "  two  spaces\tand\n\n\nlines \r\n end   ",
    "int main() { return x->y[0x1F] == 3.14; }  // code\n\t\tindent",
    "1234567890 12,345 ½ ² Ⅻ ١٢٣",
    "naïve café, Łódź, Привет мир, "
    "中文字符, 日本語テキスト, العربية, हिन्दी",
    "e\u0301 👩‍👩‍👧 🏳️‍🌈 "
    "😀😀😀\u00a0no-break\u2003em\u3000wide\u180emongol\u200bzero\u0085next",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "----------------------------------------------------------------------==========",
    " ", "\n", "'", " '", "<|endoftext|> is text here", "ends with spaces  \n",
]


def byte_level(model):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def trained(text, vocabulary):
    tokenizer = byte_level(models.BPE())
    tokenizer.train_from_iterator([text], trainers.BpeTrainer(
        vocab_size=vocabulary - 1, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return tokenizer


def bytes_of_characters():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {**{chr(b): b for b in printable}, **{chr(256 + i): b for i, b in enumerate(others)}}


def ranks_of(vocab):
    characters = bytes_of_characters()
    return {bytes(characters[c] for c in token): rank for token, rank in vocab.items()}


def main():
    text = (FOLDER / "text.txt").read_text()
    ordinary = trained(text, VOCABULARY)
    ranks = ranks_of(ordinary.get_vocab())
    by_tiktoken = tiktoken.Encoding("small", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={})
    ids = []
    for one in TEXTS:
        ids.append({"text": one, "ids": ordinary.encode(one).ids})
        assert ids[-1]["ids"] == by_tiktoken.encode_ordinary(one), one
    (FOLDER / "ids.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in ids) + "\n]\n")
    ordinary.model.save(str(FOLDER))
    (FOLDER / "small.tiktoken").write_text("".join(
        f"{base64.b64encode(token).decode()} {rank}\n"
        for token, rank in sorted(ranks.items(), key=lambda item: item[1])))
    ordinary.add_special_tokens(["<|endoftext|>"])
    ordinary.save(str(FOLDER / "tokenizer.json"), pretty=False)


if __name__ == "__main__":
    main()
