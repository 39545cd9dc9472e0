/* address.h - may a gateway listen here? */
#ifndef PALMGROVE_GATEWAY_ADDRESS_H
#define PALMGROVE_GATEWAY_ADDRESS_H

#include <stdbool.h>

#include "proto/base/status.h"

/* Check a client endpoint before it is bound.  tcp must be on loopback unless `insecure`: there is no authentication
 * yet. Errors: BASE_EINVAL neither tcp://, ipc:// nor inproc://, or an address that other machines can reach;
 * BASE_EBUSY a process listens on the ipc path; the endpoint is named. */
base_status address_check(const char *endpoint, bool insecure, base_error *error);

#endif
