#include "worker/kernels/fmath.h"

#include <stdint.h>
#include <string.h>

/* ln 2 and pi/2 in pieces whose leading ones have trailing zero bits: n * piece is exact for the n that occur. */
#define LN2_HI 6.93147180369123816490e-01
#define LN2_LO 1.90821492927058770002e-10
#define PIO2_1 1.57079632673412561417e+00
#define PIO2_2 6.07710050630396597660e-11
#define PIO2_3 2.02226624871116645580e-21

static double round_to_integer(double x)
{
    const double round = 6755399441055744.0; /* 1.5 * 2^52 */
    return (x + round) - round;
}

static double power_of_two(int n)
{
    uint64_t bits = (uint64_t)(n + 1023) << 52;
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* 2^n exp(r), |r| <= ln 2 / 2, Taylor series to r^14. */
double kern_exp(double x)
{
    double n = round_to_integer(x * 1.44269504088896338700);
    double r = (x - n * LN2_HI) - n * LN2_LO;
    double sum = 1.0;
    for (int i = 14; i > 0; i--)
        sum = 1.0 + sum * r / i;
    return sum * power_of_two((int)n);
}

/* x = 2^n m, m in [sqrt(1/2), sqrt(2)): log m = 2 atanh((m - 1) / (m + 1)). */
double kern_log(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int n = (int)(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.41421356237309514547) {
        m *= 0.5;
        n++;
    }
    double s = (m - 1.0) / (m + 1.0), s2 = s * s, sum = 0.0;
    for (int i = 23; i > 0; i -= 2)
        sum = sum * s2 + 1.0 / i;
    return n * LN2_HI + (2.0 * s * sum + n * LN2_LO);
}

/* x = n pi/2 + r, |r| <= pi/4: Taylor series of both, then the quadrant. */
void kern_sincos(double x, double *sine, double *cosine)
{
    double n = round_to_integer(x * 0.63661977236758138243);
    double r = ((x - n * PIO2_1) - n * PIO2_2) - n * PIO2_3;
    double r2 = r * r, s = 1.0, c = 1.0;
    for (int i = 18; i > 0; i -= 2) {
        s = 1.0 - s * r2 / (double)(i * (i + 1));
        c = 1.0 - c * r2 / (double)(i * (i - 1));
    }
    s *= r;
    switch ((int64_t)n & 3) {
    case 0:
        *sine = s, *cosine = c;
        break;
    case 1:
        *sine = c, *cosine = -s;
        break;
    case 2:
        *sine = -s, *cosine = -c;
        break;
    default:
        *sine = -c, *cosine = s;
        break;
    }
}
