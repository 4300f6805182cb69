"""TensorBoard's own readers of a run's event files: scalars, samples and hyperparameters are those of metrics.jsonl
and config.json, each point once.

    GLINT=build/glint python tests/interop/tensorboard_judges.py

Trains a small run, kills it, resumes it, and reads it back. Needs tensorboard.
"""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time

try:
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata
    from tensorboard.util import tensor_util
except ImportError as missing:
    print(f"tensorboard_judges.py: skipped, {missing}")
    sys.exit(0)

KEYS = ["loss", "lr", "grad_norm", "step_ms", "tokens_per_s", "mfu", "val_loss", "train_loss"]


def check(holds, what):
    if not holds:
        print(f"tensorboard_judges.py: {what}")
        sys.exit(1)


def compare(run):
    with open(f"{run}/metrics.jsonl") as file:
        lines = [json.loads(line) for line in file]
    accumulator = EventAccumulator(run, tensor_size_guidance={"scalars": 0, "text": 0})  # all points
    accumulator.Reload()
    tags = accumulator.Tags()["tensors"]

    def points_of(tag):
        events = accumulator.Tensors(tag) if tag in tags else []
        return [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in events]

    points = 0
    for key in KEYS:
        expected = [(line["step"], line[key]) for line in lines if key in line]
        got = points_of(key)
        check([step for step, _ in got] == [step for step, _ in expected], f"{key}: other steps: {got} {expected}")
        same = [math.isclose(a.item(), b, rel_tol=1e-6) for (_, a), (_, b) in zip(got, expected)]
        check(all(same), f"{key}: other values")
        points += len(got)
    samples = [(line["step"], line["sample"]) for line in lines if "sample" in line]
    got = points_of("sample")
    check([step for step, _ in got] == [step for step, _ in samples], "samples at other steps")
    for (_, array), (_, text) in zip(got, samples):
        check(array[0].decode().replace("\n    ", "\n")[4:] == text, "another sample")
    check(accumulator.SummaryMetadata("sample").plugin_data.plugin_name == "text", "samples are not text")
    content = accumulator.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    hyperparameters = metadata.parse_session_start_info_plugin_data(content).hparams
    with open(f"{run}/config.json") as file:
        options = json.load(file)
    check(set(options) - set(hyperparameters) == {"version"}, "hyperparameters are missing")
    check(math.isclose(hyperparameters["lr"].number_value, options["lr"]), "another learning rate")
    check(hyperparameters["tensorboard"].bool_value is True, "a switch has another value")
    return points, len(samples)


def main():
    glint = os.environ.get("GLINT", "build/glint")
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        options = "--layers 1 --heads 2 --embd 16 --context 32 --steps 100000 --log-every 5 --eval-every 20".split()
        options += "--checkpoint-every 50 --sample-every 30 --eval-batches 1 --device cpu --tensorboard true".split()
        process = subprocess.Popen([glint, "train", "--out", run, *options], stderr=subprocess.DEVNULL)
        while process.poll() is None and not os.path.exists(f"{run}/last"):
            time.sleep(0.05)
        time.sleep(0.2)  # beyond the checkpoint
        process.send_signal(signal.SIGKILL)
        process.wait()
        with open(f"{run}/last/state.json") as file:
            step = json.load(file)["step"]
        command = [glint, "train", "--resume", run, "--steps", str(step + 40)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        points, samples = compare(run)
        late = f"{folder}/late"  # turned on by a resume: what there was before is in the files too
        options = [option if option != "100000" else "40" for option in options]
        subprocess.run([glint, "train", "--out", late, *options[:-1], "false"], check=True, stderr=subprocess.DEVNULL)
        check(not any("tfevents" in name for name in os.listdir(late)), "event files without --tensorboard")
        for steps, on in [(60, "true"), (80, "false"), (100, "true")]:
            command = [glint, "train", "--resume", late, "--steps", str(steps), "--tensorboard", on]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            if on == "true":
                compare(late)
        print(f"tensorboard_judges.py: {points} points, {samples} samples and the hyperparameters are the same")


main()
