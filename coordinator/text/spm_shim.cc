#include "coordinator/text/spm_shim_int.h"

#include <sentencepiece_processor.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

struct spm_model {
    sentencepiece::SentencePieceProcessor processor;
};

namespace
{

// Every call that may throw or take memory goes through here.
template <typename F> spm_result guarded(F call)
{
    try {
        return call();
    } catch (const std::bad_alloc &) {
        return SPM_NO_MEMORY;
    } catch (...) {
        return SPM_FAILED;
    }
}

// A copy that C can free.
spm_result copy_out(const void *bytes, size_t size, void **out)
{
    *out = nullptr;
    if (size == 0)
        return SPM_OK;
    *out = std::malloc(size);
    if (*out == nullptr)
        return SPM_NO_MEMORY;
    std::memcpy(*out, bytes, size);
    return SPM_OK;
}

} // namespace

extern "C" {

spm_result spm_model_open(const void *bytes, size_t size, spm_model **out)
{
    spm_model *model = nullptr;
    spm_result result = guarded([&] {
        model = new spm_model;
        std::string_view serialized(static_cast<const char *>(bytes), size);
        return model->processor.LoadFromSerializedProto(serialized).ok() ? SPM_OK : SPM_BAD_MODEL;
    });
    if (result == SPM_OK)
        *out = model;
    else
        delete model;
    return result;
}

void spm_model_close(spm_model *model)
{
    delete model;
}

int32_t spm_vocab_size(const spm_model *model)
{
    return model->processor.GetPieceSize();
}

int32_t spm_bos_id(const spm_model *model)
{
    return model->processor.bos_id();
}

int32_t spm_eos_id(const spm_model *model)
{
    return model->processor.eos_id();
}

spm_kind spm_piece_kind(const spm_model *model, int32_t id)
{
    if (model->processor.IsControl(id))
        return SPM_CONTROL;
    if (model->processor.IsUnknown(id))
        return SPM_UNKNOWN;
    return model->processor.IsByte(id) ? SPM_BYTE : SPM_TEXT;
}

const char *spm_piece_text(const spm_model *model, int32_t id, size_t *size)
{
    const std::string &piece = model->processor.IdToPiece(id);
    *size = piece.size();
    return piece.c_str();
}

spm_result spm_encode(const spm_model *model, const char *text, size_t size, int32_t **ids, size_t *n_ids)
{
    return guarded([&] {
        std::vector<int> found;
        if (!model->processor.Encode(std::string_view(text, size), &found).ok())
            return SPM_FAILED;
        static_assert(sizeof(int) == sizeof(int32_t), "ids are copied as they are");
        *n_ids = found.size();
        return copy_out(found.data(), found.size() * sizeof(int32_t), reinterpret_cast<void **>(ids));
    });
}

spm_result spm_decode(const spm_model *model, const int32_t *ids, size_t n_ids, char **text, size_t *size)
{
    return guarded([&] {
        std::string found;
        if (!model->processor.Decode(std::vector<int>(ids, ids + n_ids), &found).ok())
            return SPM_FAILED;
        *size = found.size();
        return copy_out(found.data(), found.size(), reinterpret_cast<void **>(text));
    });
}

} // extern "C"
