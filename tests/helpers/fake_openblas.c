/* fake_openblas.c - a shared library that calls itself OpenBLAS, for faults (PALMGROVE_OPENBLAS_LIBRARY).
 *
 * FAKE_OPENBLAS says what it does: unset, it multiplies correctly; "corner" adds a thousandth to the last output of
 * products with more than 1000; "some" computes half of the sums' terms in one call of four, as a library that is not
 * safe for threads would; "config" describes another library.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

void cblas_sgemm(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float *a, int lda,
                 const float *b, int ldb, float beta, float *c, int ldc);
char *openblas_get_config(void);
char *openblas_get_corename(void);
void openblas_set_num_threads(int n);

static atomic_int n_calls;

static int is(const char *fault)
{
    const char *chosen = getenv("FAKE_OPENBLAS");
    return chosen != NULL && strcmp(chosen, fault) == 0;
}

/* Row-major and nothing transposed, whatever the arguments say. */
void cblas_sgemm(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float *a, int lda,
                 const float *b, int ldb, float beta, float *c, int ldc)
{
    (void)order, (void)transpose_a, (void)transpose_b;
    int terms = is("some") && atomic_fetch_add(&n_calls, 1) % 4 == 3 ? k / 2 : k;
    for (int r = 0; r < m; r++)
        for (int column = 0; column < n; column++) {
            float sum = 0.0f, *out = c + (size_t)r * (size_t)ldc + column;
            for (int i = 0; i < terms; i++)
                sum += a[(size_t)r * (size_t)lda + (size_t)i] * b[(size_t)i * (size_t)ldb + (size_t)column];
            *out = alpha * sum + (beta == 0.0f ? 0.0f : beta * *out);
        }
    if (is("corner") && m * n > 1000)
        c[(size_t)(m - 1) * (size_t)ldc + (size_t)(n - 1)] += 1e-3f;
}

char *openblas_get_config(void)
{
    static char ours[] = "OpenBLAS 9.8.7 FAKE", other[] = "Intel MKL";
    return is("config") ? other : ours;
}

char *openblas_get_corename(void)
{
    static char name[] = "Fake";
    return name;
}

void openblas_set_num_threads(int n)
{
    (void)n;
}
