"""Vision towers as mmproj files, written with the gguf package as llama.cpp's converters write them: llava ("mlp") and gemma3, older files with ffn_up and
ffn_down swapped."""

import gguf
import numpy as np

LAYER = {
    "layer_norm1": "ln1", "layer_norm2": "ln2", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down",
}  # fmt: skip
OTHER = {
    "embeddings.class_embedding": "v.class_embd", "embeddings.patch_embedding.weight": "v.patch_embd.weight", "embeddings.patch_embedding.bias": "v.patch_embd.bias",
    "embeddings.position_embedding.weight": "v.position_embd.weight", "pre_layrnorm.weight": "v.pre_ln.weight", "pre_layrnorm.bias": "v.pre_ln.bias",
    "post_layernorm.weight": "v.post_ln.weight", "post_layernorm.bias": "v.post_ln.bias", "linear_1.weight": "mm.0.weight", "linear_1.bias": "mm.0.bias",
    "linear_2.weight": "mm.2.weight", "linear_2.bias": "mm.2.bias", "mm_input_projection_weight": "mm.input_projection.weight",
    "mm_soft_emb_norm.weight": "mm.soft_emb_norm.weight",
}  # fmt: skip
SWAPPED = {"ffn_up": "ffn_down", "ffn_down": "ffn_up"}


def tensor_name(name, swapped):
    if not name.startswith("encoder.layers."):
        return OTHER[name]
    _, _, layer, *part, kind = name.split(".")
    short = LAYER[".".join(part)]
    return f"v.blk.{layer}.{SWAPPED.get(short, short) if swapped else short}.{kind}"


def write(net, path, projector, mean, std, n_layers, dtype=np.float32, swapped=False):
    """The tower and projector of `net`, matrices in `dtype`; `n_layers` of the tower are written."""
    eye = net.config.vision_config
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", projector)
    writer.add_bool("clip.use_gelu", projector == "gemma3")
    for key, value in (("image_size", eye.image_size), ("patch_size", eye.patch_size), ("embedding_length", eye.hidden_size),
                       ("feed_forward_length", eye.intermediate_size), ("block_count", n_layers), ("attention.head_count", eye.num_attention_heads),
                       ("projection_dim", net.config.text_config.hidden_size)):  # fmt: skip
        writer.add_uint32("clip.vision." + key, value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", eye.layer_norm_eps)
    writer.add_array("clip.vision.image_mean", list(mean))
    writer.add_array("clip.vision.image_std", list(std))
    if projector == "gemma3" and (pool := eye.image_size // eye.patch_size // round(net.config.mm_tokens_per_image**0.5)) != 4:
        writer.add_uint32("clip.vision.projector.scale_factor", pool)
    for name, tensor in net.state_dict().items():
        short = name.removeprefix("model.vision_tower.").removeprefix("model.multi_modal_projector.")
        if short == name or (short.startswith("encoder.layers.") and int(short.split(".")[2]) >= n_layers):
            continue
        values = tensor.numpy().astype(np.float32)
        if projector == "gemma3" and short == "mm_soft_emb_norm.weight":
            values = values + np.float32(1)
        keeps = values.ndim == 1 or "patch_embedding" in short or "position" in short
        writer.add_tensor(tensor_name(short, swapped), values if keeps else values.astype(dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
