/* openblas.h - OpenBLAS as the provider of many-row products with f32, f16 and bf16 weights (`--products openblas`).
 *
 * The library is loaded at run time, so a site without it builds and runs.  It is called single-threaded from the
 * team's members, each with blocks of outputs of its own (linear.h).  Packed weights are unpacked to f32 a block at a
 * time; activations are f32.
 *
 * Unlike our kernels, an output's bits depend on how many rows the call has and on the processor core that the library
 * chose kernels for.  What that gives up: docs/decisions/0010-openblas-provider.md. */
#ifndef PALMGROVE_OPENBLAS_H
#define PALMGROVE_OPENBLAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "sharding/pack/pack.h"

#define KERN_OPENBLAS_COLUMNS 256u /* outputs of a block, whole panels */
#define KERN_OPENBLAS_ROWS    512u /* rows of a block at most */

/* Load libopenblas.so.0 (or what PALMGROVE_OPENBLAS_LIBRARY names) and check its products against the reference
 * kernels.  Before any thread that reads the environment: it sets OPENBLAS_CORETYPE and OPENBLAS_NUM_THREADS where they
 * are not set.  After kern_select; a second call does nothing.
 * Errors: BASE_EUNSUPPORTED no such library, or it is not OpenBLAS; BASE_ENUMERIC it computes wrong sums.  It is not
 * open then. */
base_status kern_openblas_open(base_error *error);
bool kern_openblas_is_open(void);

/* "openblas-0.3.21-Haswell": version and the core whose kernels it uses; "" when it is not open.  Static. */
const char *kern_openblas_name(void);

/* A block of outputs of w [n][k] that is not quantised: `column`, a multiple of KERN_OPENBLAS_COLUMNS, and as many
 * after it as the matrix has.  m <= KERN_OPENBLAS_ROWS rows of x, ldx floats apart. */
typedef struct kern_openblas_block {
    const pack_matrix *w;
    size_t column;
    const float *x;
    size_t ldx, m;
} kern_openblas_block;

/* Bytes of working memory that a thread gives the two functions below, on a cache line; the library takes memory of its
 * own besides: KERN_OPENBLAS_LIBRARY_BYTES for each thread that is inside at the same time. */
size_t kern_openblas_scratch_bytes(void);
#define KERN_OPENBLAS_LIBRARY_BYTES (32u << 20)

/* y[r][0 ...) = x[r] W^T over the block's outputs, rows of y ldy floats apart. */
void kern_openblas_linear(const kern_openblas_block *block, float *y, size_t ldy, void *scratch);
/* acc[r][0 ...) += the same, as one partial in fixed point (kern.h); overflow[r] as there. */
void kern_openblas_linear_fixed(const kern_openblas_block *block, int64_t *acc, size_t ldacc, int64_t *overflow,
                                void *scratch);

#endif
