/* vec_avx2_tpl.h - the vector vocabulary with 8 lanes: AVX2, FMA, F16C.  See ref/vec_ref_tpl.h for the meaning of each
 * word. */
#ifndef PALMGROVE_VEC_AVX2_TPL_H
#define PALMGROVE_VEC_AVX2_TPL_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define VEC_LANES      8
#define VEC_REGISTERS  16
#define VEC_TILE_ROWS  6 /* x 2 vectors: 12 sums, 2 vectors of weights, one of x */
#define VEC_SUMS       8 /* 2 rows x 4 vectors */
#define VEC_BLOCK_ROWS 60
#define VEC_PIECE      128u /* 16 KiB of f32, 8 of bf16, of 32 */
#define VEC_Q8_ROWS    6
#define VEC_STEP_int8  1 /* 6 sums; the fewer vectors a step has, the more rows share the unpacking of a weight */
#define VEC_STEP_int4  2 /* 12 sums */

typedef __m256 vec;

static inline vec vec_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline vec vec_load_bf16(const uint16_t *p)
{
    __m256i widened = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(widened, 16));
}

static inline vec vec_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* 2^23 + byte, made of bits, less 2^23 + 128. */
static inline vec vec_column_int8(const uint8_t *quads, int j)
{
    __m256i column = _mm256_srli_epi32(_mm256_loadu_si256((const __m256i *)(const void *)quads), 8 * j);
    __m256i bits = _mm256_or_si256(_mm256_and_si256(column, _mm256_set1_epi32(0xff)), _mm256_set1_epi32(0x4b000000));
    return _mm256_sub_ps(_mm256_castsi256_ps(bits), _mm256_set1_ps(8388736.0f));
}

static inline vec vec_column_int4(const uint8_t *quads, int j, int high)
{
    __m256i column =
        _mm256_srli_epi32(_mm256_loadu_si256((const __m256i *)(const void *)quads), 8 * j + (high ? 4 : 0));
    __m256i bits = _mm256_or_si256(_mm256_and_si256(column, _mm256_set1_epi32(0x0f)), _mm256_set1_epi32(0x4b000000));
    return _mm256_sub_ps(_mm256_castsi256_ps(bits), _mm256_set1_ps(8388616.0f));
}

static inline void vec_store(float *p, vec a)
{
    _mm256_storeu_ps(p, a);
}

static inline vec vec_set(float a)
{
    return _mm256_set1_ps(a);
}

static inline vec vec_set_bf16(const uint16_t *pair, int second)
{
    int32_t bits;
    memcpy(&bits, pair, sizeof bits);
    __m256i both = _mm256_set1_epi32(bits);
    return _mm256_castsi256_ps(second ? _mm256_slli_epi32(both, 16)
                                      : _mm256_and_si256(both, _mm256_set1_epi32((int)0xffff0000u)));
}

static inline vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

static inline vec vec_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}

static inline vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

static inline vec vec_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}

static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

static inline vec vec_min(vec a, vec b)
{
    return _mm256_min_ps(a, b);
}

static inline vec vec_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

static inline float vec_max_across(vec a)
{
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

static inline float vec_sum_across(vec a)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

static inline vec vec_scale_exp2(vec p, vec t)
{
    __m256i shifted = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), shifted));
}

/* Denormals as zeros, in operands and results (MXCSR bits DAZ and FTZ). */
typedef unsigned vec_mode;

static inline vec_mode vec_flush_on(void)
{
    vec_mode mode = _mm_getcsr();
    _mm_setcsr(mode | 0x8040u);
    return mode;
}

static inline void vec_flush_off(vec_mode mode)
{
    _mm_setcsr(mode);
}

static inline vec vec_fma_flush(vec a, vec b, vec c)
{
    return vec_fma(a, b, c);
}

typedef __m256i vec_sums;
typedef __m256i vec_weights; /* int8: signed; int4: 0 to 15 */
typedef __m256i vec_activations;

static inline vec_activations vec_activations_set(const int8_t *x)
{
    int32_t quad;
    memcpy(&quad, x, sizeof quad);
    return _mm256_set1_epi32(quad);
}

static inline vec_weights vec_load_quads_int8(const uint8_t *quads)
{
    return _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)quads), _mm256_set1_epi8((char)0x80));
}

static inline vec_weights vec_load_quads_int4(const uint8_t *quads, int high)
{
    __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)quads);
    return _mm256_and_si256(high ? _mm256_srli_epi16(bytes, 4) : bytes, _mm256_set1_epi8(0x0f));
}

static inline void vec_store_quads(uint8_t *to, vec_weights w)
{
    _mm256_storeu_si256((__m256i *)(void *)to, w);
}

static inline vec_weights vec_load_unpacked4(const uint8_t *quads)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)quads);
}

static inline vec_sums vec_sums_int8(int32_t correction)
{
    (void)correction;
    return _mm256_setzero_si256();
}

static inline vec_sums vec_sums_int4(int32_t correction)
{
    (void)correction;
    return _mm256_setzero_si256();
}

/* |w| times x with w's sign: pairs reach at most 2 * 128 * 127 = 32512, so nothing saturates. */
static inline vec_sums vec_dot_int8(vec_sums s, vec_weights w, vec_activations x)
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_add_epi32(s, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* int4 sums stay in 16 bits until the group's end, two to a lane: at most 16 * 15 * 127 = 30480. */
static inline vec_sums vec_dot_int4(vec_sums s, vec_weights w, vec_activations x)
{
    return _mm256_add_epi16(s, _mm256_maddubs_epi16(w, x));
}

static inline vec vec_from_sums_int8(vec_sums s, int32_t correction)
{
    (void)correction;
    return _mm256_cvtepi32_ps(s);
}

static inline vec vec_from_sums_int4(vec_sums s, int32_t correction)
{
    return _mm256_cvtepi32_ps(
        _mm256_add_epi32(_mm256_madd_epi16(s, _mm256_set1_epi16(1)), _mm256_set1_epi32(correction)));
}

static inline void vec_store_bytes(int8_t *to, vec a)
{
    const __m256i low_bytes = _mm256_set1_epi32(0x0c080400);
    __m256i fours = _mm256_shuffle_epi8(_mm256_castps_si256(a), low_bytes);
    int32_t first = _mm256_extract_epi32(fours, 0), second = _mm256_extract_epi32(fours, 4);
    memcpy(to, &first, sizeof first);
    memcpy(to + 4, &second, sizeof second);
}

/* AVX2 has no conversion to int64.  For a below 2^62, a = 2^32 h + l with |l| <= 2^31: adding 1.5 * 2^52 rounds h and l
 * to integers, which are then in the low bits.  2^32 h is even, so l's tie is a's.  The bits that 1.5 * 2^52 leaves
 * in the result are taken off in the end, for all terms of a sum at once. */
#define VEC_FIXED_BIAS 0x4338000000000000u
#define FIXED_ROUND    6755399441055744.0

static inline __m256i fixed_from_doubles(__m256d a)
{
    const __m256d round = _mm256_set1_pd(FIXED_ROUND);
    __m256d high = _mm256_fmadd_pd(a, _mm256_set1_pd(0x1p-32), round);
    __m256d low = _mm256_fnmadd_pd(_mm256_sub_pd(high, round), _mm256_set1_pd(0x1p32), a);
    return _mm256_add_epi64(_mm256_slli_epi64(_mm256_castpd_si256(high), 32),
                            _mm256_castpd_si256(_mm256_add_pd(low, round)));
}

/* Below 2^51 one addition does. */
static inline __m256i fixed_from_small_doubles(__m256d a)
{
    return _mm256_castpd_si256(_mm256_add_pd(a, _mm256_set1_pd(FIXED_ROUND)));
}

static inline __m256d four_doubles(const vec *a, int i)
{
    return _mm256_cvtps_pd(_mm_loadu_ps((const float *)(const void *)a + i));
}

static inline void add_integers(int64_t *acc, __m256i a)
{
    __m256i *sums = (__m256i *)(void *)acc;
    _mm256_storeu_si256(sums, _mm256_add_epi64(_mm256_loadu_si256(sums), a));
}

static inline void vec_add_fixed(int64_t *acc, const vec *a)
{
    add_integers(acc, fixed_from_doubles(four_doubles(a, 0)));
    add_integers(acc + 4, fixed_from_doubles(four_doubles(a, 4)));
}

static inline void vec_add_small_fixed(int64_t *acc, const vec *a)
{
    add_integers(acc, fixed_from_small_doubles(four_doubles(a, 0)));
    add_integers(acc + 4, fixed_from_small_doubles(four_doubles(a, 4)));
}

typedef __m256i vec_absmax;

static inline vec_absmax vec_absmax_zero(void)
{
    return _mm256_setzero_si256();
}

static inline vec_absmax vec_absmax_update(vec_absmax absmax, vec a)
{
    __m256i bits = _mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(0x7fffffff));
    return _mm256_max_epu32(absmax, bits);
}

static inline int vec_absmax_is_small(vec_absmax absmax)
{
    const __m256i largest = _mm256_set1_epi32(0x58ffffff); /* below 2^51 */
    return _mm256_testz_si256(_mm256_cmpgt_epi32(absmax, largest), _mm256_set1_epi32(-1));
}

static inline uint32_t vec_absmax_across(vec_absmax absmax)
{
    uint32_t lanes[VEC_LANES], max = 0;
    _mm256_storeu_si256((__m256i *)(void *)lanes, absmax);
    for (int i = 0; i < VEC_LANES; i++)
        max = lanes[i] > max ? lanes[i] : max;
    return max;
}

#endif
