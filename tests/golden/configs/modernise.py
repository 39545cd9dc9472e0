"""Writes NAME.new.json from NAME.json: the same model as transformers 5 states it (rope_parameters, layer_types, dtype).

    pip install transformers==5.23.0 && python3 tests/golden/configs/modernise.py llama-3.1-8b-instruct gemma-3-4b-it"""
import json
import pathlib
import sys

from transformers import AutoConfig

FOLDER = pathlib.Path(__file__).parent

for name in sys.argv[1:]:
    fields = json.loads((FOLDER / f"{name}.json").read_text())
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    (FOLDER / f"{name}.new.json").write_text(config.to_json_string())
