#!/bin/sh
# Trains the three small SentencePiece models of tests/unit/coordinator/text/test_sentencepiece.c (Debian package: sentencepiece).
#   sh make_models.sh
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

# A corpus of its own words: reports in the manner of the phantom's.
for size in small moderate large; do
    for side in left right; do
        for finding in nodule effusion pneumothorax consolidation opacity; do
            echo "There is a $size $finding in the $side lung.  The heart is not enlarged; no fracture is seen."
            echo "Impression: $size $side $finding. The cardiac silhouette is within normal limits."
        done
    done
done > "$work/corpus.txt"
for n in 0 1 2 3 4 5 6 7 8 9; do echo "View $n: 1$n mm, 2$n cm, AP or PA?"; done >> "$work/corpus.txt"

train() { # name, options
    name=$1
    shift
    mkdir -p "$name"
    spm_train --input="$work/corpus.txt" --model_prefix="$work/$name" --minloglevel=2 --bos_id=1 --eos_id=2 --unk_id=0 "$@"
    cp "$work/$name.model" "$name/tokenizer.model"
}
train plain --model_type=bpe --vocab_size=400 --byte_fallback=true --split_digits=true --normalization_rule_name=identity \
    --add_dummy_prefix=false --remove_extra_whitespaces=false --character_coverage=1.0
train prefix --model_type=bpe --vocab_size=400 --byte_fallback=true --normalization_rule_name=identity \
    --add_dummy_prefix=true --remove_extra_whitespaces=false --character_coverage=1.0
train squeeze --model_type=unigram --vocab_size=120 --hard_vocab_limit=false --normalization_rule_name=identity
