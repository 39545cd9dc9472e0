#include "proto/base/check.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"

_Noreturn void base_check_failed(const char *condition, const char *file, int line)
{
    const char *name = strrchr(file, '/'); /* unique in the tree, and says nothing of the machine it was built on */
    base_log_error("defect: %s:%d: not true: %s", name != NULL ? name + 1 : file, line, condition);
    abort();
}
