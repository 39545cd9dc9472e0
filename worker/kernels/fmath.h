/* fmath.h - exp, log, sin and cos in double from +, -, *, / alone.
 *
 * The C library's versions differ between systems in the last bit; these give the same bits on every IEEE machine. For
 * tables at start-up and for sampling, not for inner loops (kern_tpl.h has the vector exp).  Errors are a few units in
 * the last place. */
#ifndef PALMGROVE_FMATH_H
#define PALMGROVE_FMATH_H

/* x in [-700, 700] */
double kern_exp(double x);
/* x > 0, normal */
double kern_log(double x);
/* |x| up to about 1e8 */
void kern_sincos(double x, double *sine, double *cosine);

#endif
