#!/bin/bash
# What a GPU shows in eight minutes: tests/gpu, the speed of steps, and SimCLR on CIFAR-10 by its recipe.
#
#   scripts/gpu_check.sh                       # from the root of the repository; into outputs/gpu_check
#   DATA="dataset=arrays dataset.path=FILE" scripts/gpu_check.sh      # other images than those of dataset=cifar10
#   TINY=1 scripts/gpu_check.sh                # the same steps in seconds, without a GPU: nothing is measured
#
# MINUTES of pretraining; OUT, where it writes: tests.txt, steps.txt, run.txt, recipe.txt and the run's folder; SLOW=5
# allows each part five times its time.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-outputs/gpu_check}
DATA=${DATA:-dataset=cifar10}
MINUTES=${MINUTES:-3}
STEPS=(--steps 100 --rounds 1)
RECIPE=(experiment=cifar10/simclr_resnet18 budget.unit=minutes "budget.amount=$MINUTES")
if [ -n "${TINY:-}" ]; then
    DATA="dataset=fake_images dataset.examples=60 dataset.test_examples=20"
    STEPS=(--steps 2 --rounds 1 --batch 8 --tiny --no-compile)
    RECIPE+=(budget.unit=steps budget.amount=3 batch_size=8 backbone.widening=1 trainer.watch_every=0)
fi
mkdir -p "$OUT"
failed=0

step() { # a name, seconds at most, and the command; its output goes to OUT/name.txt
    local name=$1 limit=$(($2 * ${SLOW:-1})) begun=$SECONDS
    shift 2
    if timeout "$limit" "$@" >"$OUT/$name.txt" 2>&1; then
        echo "$name: done in $((SECONDS - begun)) s"
    else
        echo "$name: failed or ran longer than $limit s; see $OUT/$name.txt"
        failed=1
    fi
    tail -n 15 "$OUT/$name.txt"
}

step tests 150 python -m pytest -q tests/gpu -p no:cacheprovider
step steps 120 python -m scripts.benchmarks gpu "${STEPS[@]}"
# shellcheck disable=SC2086 # DATA is several words
step run $((MINUTES * 60 + 90)) python -m ssl_runner "${RECIPE[@]}" $DATA "evaluation=[linear,knn]" \
    "controls=[random_start]" logger=csv "output=$OUT/runs"
step recipe 30 python - "$OUT/runs" <<'PYTHON'
import json
import sys
from pathlib import Path

IMAGES, EPOCHS = 45_000, 200  # of the recipe
for file in sorted(Path(sys.argv[1]).rglob("result.json")):
    result = json.loads(file.read_text())
    rate = result["cost"]["examples_per_second"]
    print(f"{file.parent}: {result['pretraining']['epochs']} epochs on {result['cost']['device']}")
    if rate:
        print(f"{rate:,.0f} images/s; {EPOCHS} epochs of {IMAGES:,} images would take {EPOCHS * IMAGES / rate / 60:,.1f} min")
    for found in result["results"]:
        for metric in found["metrics"]:
            if metric["name"] == "accuracy" and metric.get("split") == "test":
                print(f"{found['evaluator']} {found['subject']}: {100 * metric['value']:.1f} %")
PYTHON
exit $failed
