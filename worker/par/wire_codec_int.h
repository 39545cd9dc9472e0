/* wire_codec_int.h - vectors between nodes, in fewer bytes than in memory.
 *
 * Sums are fixed-point int64 (docs/decisions/0001-fixed-point-reductions.md); what they hold rarely needs all eight
 * bytes: 2^-36 x 2^39 is 8.0.  So a message is cut into blocks of 256 values, and each block has the least width that
 * all its values fit:
 *
 *     [widths: one byte a block, padded to 8][block 0][block 1] ...
 *     width 0     all values are zero: nothing follows
 *           4     int32 [n] (or u32 [n] of bits)
 *           5, 6  low halves u32 [n], then the bytes above as int8 [n] or int16 [n]
 *           8     int64 [n]
 *           2     bf16 [n]: the only width of PAR_WIRE_BF16, rounded to nearest even
 *
 * Planes are padded to 8 bytes.  All but bf16 are exact.  Byte order is the machine's: a cluster has one. */
#ifndef PALMGROVE_PAR_WIRE_CODEC_INT_H
#define PALMGROVE_PAR_WIRE_CODEC_INT_H

#include <stddef.h>

#include "worker/par/reduce_op_int.h"
#include "worker/par/world.h"

/* Bytes that n values need at most. */
size_t par_wire_bytes_max(par_reduce_op op, size_t n);

/* Write n values to `out` (8-byte aligned, par_wire_bytes_max bytes); returns the bytes used. */
size_t par_wire_encode(par_wire wire, par_reduce_op op, const void *values, size_t n, unsigned char *out);

/* values[i] = values[i] op what the message holds. */
void par_wire_accumulate(par_reduce_op op, const unsigned char *message, size_t n, void *values);

/* values[i] = what the message holds. */
void par_wire_decode(par_reduce_op op, const unsigned char *message, size_t n, void *values);

#endif
