/* S3's error documents: <Error><Code/><Message/><RequestId/></Error>, and nothing else of XML. Any thread. */
#ifndef EBBFS_S3_XML_H
#define EBBFS_S3_XML_H

#include <stdbool.h>
#include <stddef.h>

#define XML_CODE_MAX 64
#define XML_MESSAGE_MAX 256
#define XML_REQUEST_ID_MAX 96

struct xml_error {
	char code[XML_CODE_MAX]; /* "" when there is none; texts that are too long are cut */
	char message[XML_MESSAGE_MAX];
	char request_id[XML_REQUEST_ID_MAX];
};

/* True if the document's root is <Error>, even if it ends too early. White space before the XML declaration is
 * skipped: CopyObject keeps its connection alive with it. ret is filled in either way. */
bool xml_parse_error(const char *bytes, size_t length, struct xml_error *ret);

#endif
