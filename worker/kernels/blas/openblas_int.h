/* openblas_int.h - between the files of the OpenBLAS provider. */
#ifndef PALMGROVE_OPENBLAS_INT_H
#define PALMGROVE_OPENBLAS_INT_H

#include "proto/base/status.h"
#include "worker/kernels/blas/openblas.h"

/* Products of several shapes against the reference kernels, from several threads at once.  `name` of the library is for
 * the error.  BASE_ENUMERIC: an output is further from the reference than rounding explains. */
base_status kern_openblas_check(const char *name, base_error *error);

#endif
