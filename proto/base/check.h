/* check.h - invariants that stay on in a release.
 *
 * base_check is for what only a defect of ours can break and what costs a comparison or two.  Going on would corrupt
 * another request's state or answer it with wrong bytes, so the process ends: mpirun ends the job, a standing
 * coordinator or a service manager starts another.  What is too dear for a release stays an assert (on in Debug only).
 * Input from a file, a socket, a peer or a user is never checked like this: it gets a base_status. */
#ifndef PALMGROVE_BASE_CHECK_H
#define PALMGROVE_BASE_CHECK_H

/* No effect when the condition holds; otherwise base_check_failed.  The condition is evaluated once, in every build. */
#define base_check(condition) ((condition) ? (void)0 : base_check_failed(#condition, __FILE__, __LINE__))

/* Log "defect: FILE:LINE: not true: CONDITION" and end the process by SIGABRT, as assert does. */
_Noreturn void base_check_failed(const char *condition, const char *file, int line);

#endif
