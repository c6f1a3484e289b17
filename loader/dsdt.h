/* SPDX-License-Identifier: Apache-2.0 */
/* The namespace: which devices there are and where. Private to loader/. Main only. */
#ifndef MVMM_LOADER_DSDT_H
#define MVMM_LOADER_DSDT_H

#include "loader/acpi.h"
#include "loader/aml.h"

/* Appends the body of the DSDT, without a table header. */
void dsdt_write(struct aml *aml, const struct acpi_config *config);

#endif
