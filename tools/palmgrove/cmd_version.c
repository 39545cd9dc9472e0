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
    printf("  kernels    ref%s%s on this machine\n", kern_avx2() != NULL ? ", avx2" : "",
           kern_avx512() != NULL ? ", avx512" : "");
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
