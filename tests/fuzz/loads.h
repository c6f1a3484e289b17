/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Called before each load of what was built with -fsanitize-coverage=trace-loads (clang): the place
 * where another vCPU of the guest may change what is about to be read.
 */
#ifndef MVMM_TESTS_FUZZ_LOADS_H
#define MVMM_TESTS_FUZZ_LOADS_H

/* NULL: nobody is interested. */
extern void (*fuzz_before_load)(const void *p);

#endif
