/* compiler_int.h - what the kernels ask of the compiler, and the fault of gcc that each word works around.
 *
 * Included by the templates after a vec_*_tpl.h, which says how many vector registers there are.  All were measured
 * with gcc 12.2 at -O3 on x86-64 (docs/KERNELS.md, "What failed"); none changes a bit of a result.
 *
 *     word            what gcc 12.2 does without it                            what that costs
 *     FORGET_MEMORY   carries the int64 sums of a tile from unit to unit in    fixed-point products: 48 % of the
 *                     registers that do not exist, storing each sum twice      peak instead of 56 %
 *     ROW_BY_ROW      fetches the operands of all rows of a tile first, and    AVX2: tiles of 6 rows by half a panel
 *                     stores sums to make room for them                        gain nothing over smaller ones
 *     VEC_KEEP        reorders integer terms, or carries a sum through a       the same
 *                     loop in two registers
 *     BY_MEMORY       inlines what takes all sums of a tile, and stores sums   the same
 *                     to make room for its temporaries
 *     UNROLL          keeps a loop over rows, so sums are an array in memory   every tile
 */
#ifndef PALMGROVE_KERN_COMPILER_INT_H
#define PALMGROVE_KERN_COMPILER_INT_H

#define INLINE static inline __attribute__((always_inline))

/* A compiler barrier: emits nothing, but values cached in registers are reloaded. */
#define FORGET_MEMORY() __atomic_signal_fence(__ATOMIC_SEQ_CST)

#if VEC_REGISTERS < 32
#define ROW_BY_ROW()  FORGET_MEMORY()                  /* between the rows of a tile */
#define VEC_KEEP(sum) __asm__("" : "+x"(sum))          /* the sum is in its register now */
#define BY_MEMORY     static __attribute__((noinline)) /* a function that takes a tile's sums from memory */
#else
#define ROW_BY_ROW()  ((void)0)
#define VEC_KEEP(sum) ((void)0)
#define BY_MEMORY     INLINE
#endif

/* Before a loop over the rows or vectors of a tile, whose sums are in registers only when it is unrolled.  With a check
 * at every access that takes minutes to compile, so sanitizer builds leave it out. */
#if VEC_LANES > 1 && !defined(__SANITIZE_ADDRESS__)
#define UNROLL _Pragma("GCC unroll 8")
#else
#define UNROLL
#endif

#endif
