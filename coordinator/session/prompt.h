/* prompt.h - a request's parts turned into what the scheduler takes: token ids with image rows, and square images.
 *
 * A prompt is <s> if the model wants one, then the parts in order: every text by itself through the tokenizer, every
 * image as rows_per_image positions, every vector as one (PaLM-E's multimodal sentences); vectors do not go with tasks.
 * A task part expands to texts and image slots; each slot takes the next image part that follows the task.  A task that
 * takes a varying number of images has as many slots as there are image parts between it and the next task.  Without
 * any task part images keep their place.  A literal <img> in a text is text.  The task "chat" is a conversation in
 * the model's chat template (chat_template.h): the only place where control tokens come from. Allocates, but is
 * otherwise pure: any thread. */
#ifndef PALMGROVE_SESSION_PROMPT_H
#define PALMGROVE_SESSION_PROMPT_H

#include <stdint.h>

#include "coordinator/content.h"
#include "coordinator/image/preprocess.h"
#include "coordinator/session/chat_template.h"
#include "coordinator/session/exemplars.h"
#include "coordinator/task/task.h"
#include "coordinator/text/text.h"
#include "proto/link/plan.h"
#include "proto/wire/msg.h"
#include "sharding/arch.h"

/* How the model sees images.  All zero: fitted as image_fit_square, nothing around them. */
typedef struct prompt_images {
    image_fit fit;
    const char *open, *close; /* text around an image's rows, joined with the texts next to it; spellings of control
                                 tokens count.  NULL: none */
} prompt_images;

/* What a prompt is made with; borrowed, immutable while prompts are built. */
typedef struct prompt_env {
    const text_tokenizer *tokenizer;
    const task_set *tasks;
    const exemplars *exemplars;
    chat_setup chat;
    prompt_images images;
    const arch_encoder *encoders; /* [n_encoders] what vectors may be for */
    uint32_t n_encoders;
    int32_t bos_id;     /* what every prompt begins with; -1: nothing */
    link_limits limits; /* the replica's */
    uint64_t max_image_pixels;
} prompt_env;

/* About image `image`, from 0. */
typedef struct prompt_warning {
    uint32_t image;
    image_warning warning;
} prompt_warning;

typedef struct prompt {
    text_ids tokens;                                      /* numbered as in requests (position.h) */
    uint8_t **images;                                     /* [n_images] each [image_size][image_size][3] */
    unsigned char (*image_digests)[CONTENT_DIGEST_BYTES]; /* [n_images] digest of the pixels of images 0 .. k and of the
                                                            vectors before: BLAKE2b of the digest before and the key */
    unsigned char (
        *image_keys)[CONTENT_DIGEST_BYTES]; /* [n_images] digest of the pixels of image k alone: their BLAKE2b */
    uint32_t n_images;
    content_vector *vectors; /* [n_vectors] */
    float *vector_values;    /* what they point at */
    uint32_t n_vectors;
    prompt_warning *warnings; /* [n_warnings] in the order of images */
    size_t n_warnings;
} prompt;

/* Errors, *out untouched: BASE_EINVAL empty prompt, images and image slots that do not match, or vectors that the model
 * does not take; BASE_ENOTFOUND, BASE_EINVAL of task_set_find, task_render and chat_render; BASE_ETOOBIG tokens, images
 * or pixels beyond a limit (both numbers and the fix named); BASE_EUNSUPPORTED an image for a model without a tower;
 * image_decode's errors with the image's number in front; BASE_ENOMEM. */
base_status prompt_build(const prompt_env *env, const wire_generate *generate, prompt *out, base_error *error);

/* Is every token one that the model has a row for?  BASE_EINVAL. */
base_status prompt_check_ids(const prompt_env *env, const text_ids *tokens, base_error *error);

/* Free everything; the prompt is empty afterwards. */
void prompt_release(prompt *p);

#endif
