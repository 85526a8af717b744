/* What every unit test includes: cmocka and what it wants before it. */
#ifndef EBBFS_TESTS_UNIT_H
#define EBBFS_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
