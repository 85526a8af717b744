#include "uploader/base/notify.h"

void notify_init(void)
{
}

int64_t notify_interval_ms(void)
{
	return 0;
}

void notify_ready(void)
{
}

void notify_alive(void)
{
}
