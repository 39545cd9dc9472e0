/* clock.h - monotonic time in microseconds, wall time, and a nap.  Safe from any thread. */
#ifndef PALMGROVE_BASE_CLOCK_H
#define PALMGROVE_BASE_CLOCK_H

#include <stdint.h>

/* Microseconds since an arbitrary start; never goes back. */
uint64_t base_clock_us(void);

/* Milliseconds since the Unix epoch (for deadlines that cross processes). */
int64_t base_clock_wall_ms(void);

/* Sleep for about `us` microseconds (fewer when a signal arrives). */
void base_clock_nap(uint32_t us);

#endif
