/* peak.h - what a core and its memory can do at most, measured by loops that do nothing else: the limits that
 * `palmgrove bench` holds the kernels against.
 *
 *     read  a stream through memory with the widest loads, nothing computed but an exclusive or
 *     f32   independent chains of fused multiply-adds in registers, no memory
 *     int8  independent chains of the widest 8-bit dot product in registers, no memory: vpdpbusd where the CPU has it,
 *           vpmaddubsw + vpmaddwd on older x86, sdot on Arm, smull + sadalp where that is missing.  int4 on older x86
 *           does without vpmaddwd (sums of 16 bits) and may go beyond it
 *
 * Multiplication and addition count as two operations, as everywhere in this project. */
#ifndef PALMGROVE_PEAK_H
#define PALMGROVE_PEAK_H

#include <stddef.h>
#include <stdint.h>

typedef struct peak_table {
    const char *int8_name; /* the instruction of `int8` */
    /* Read [bytes, bytes + size), on a cache line, size a multiple of PEAK_READ_UNIT; the result keeps the compiler
     * from leaving it out. */
    uint64_t (*read)(const void *bytes, size_t size);
    /* n rounds; a round is f32_ops (int8_ops) operations. */
    float (*f32)(size_t n);
    int32_t (*int8)(size_t n);
    double f32_ops, int8_ops;
} peak_table;

#define PEAK_READ_UNIT 4096u

/* The loops in the instruction set of the kernels in use (kern_active). */
const peak_table *peak_active(void);

#endif
