#include <stdio.h>

#include "proto/client/palmgrove.h"
#include "tools/palmgrove/build_info.h"
#include "tools/palmgrove/command.h"
#include "worker/kernels/kern.h"

typedef struct version_values {
    bool brief;
} version_values;

static const option_row rows[] = {
    {"brief", NULL, OPTION_FLAG, offsetof(version_values, brief), NULL, "print the number only", OPTION_NO_ENVIRONMENT},
};

static int run(void *opaque)
{
    const version_values *values = opaque;
    if (values->brief) {
        printf("%s\n", BUILD_INFO_VERSION);
        return EXIT_DONE;
    }
    printf("palmgrove %s\n", BUILD_INFO_VERSION);
    printf("  build      %s, %s%s%s\n", BUILD_INFO_TYPE, BUILD_INFO_COMPILER,
           BUILD_INFO_SANITIZERS[0] != '\0' ? ", sanitizers: " : "", BUILD_INFO_SANITIZERS);
    printf("  client     libpalmgrove %s\n", pg_version());
    printf("  libraries  %s\n", BUILD_INFO_LIBRARIES);
    const kern_table *usable[KERN_VARIANTS];
    size_t n = kern_usable(usable);
    printf("  kernels    ");
    for (size_t i = 0; i < n; i++)
        printf("%s%s", i > 0 ? ", " : "", usable[i]->name);
    printf(" on this machine\n");
    return EXIT_DONE;
}

const command command_version = {"version",
                                 "[options]",
                                 "print the version, the build, the libraries and the usable kernel sets",
                                 "Print the version, how the program was built and with which libraries, and the "
                                 "kernel sets that this machine can run.",
                                 {rows, sizeof rows / sizeof rows[0]},
                                 sizeof(version_values),
                                 run};
