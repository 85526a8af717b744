"""The control port of the test server: JSON over HTTP, unsigned, meant for tests only.

GET    /log?since=N&operation=…&bucket=…   the requests noted from number N on: {"next": N, "requests": […]}
GET    /state                              faults with their hits, options, requests in flight
POST   /faults    {rule}                   adds a rule (faults.py), answers {"id": N}
DELETE /faults[?id=N]                      removes one or all; stalled requests go on
POST   /options   {"checksums": false, …}  sets options (server.py), answers all of them
POST   /refuse    {"seconds": T} or {}     closes the listening socket and every connection; opens it again after T
POST   /listen                             opens it again now
POST   /buckets   {"name", "versioning"}   makes a bucket
DELETE /buckets?name=…                     drops it with everything inside
POST   /preload   {"bucket", "prefix", "directory", "mtime_metadata"}  makes an object of each regular file below
GET    /objects?bucket=…                   {key: {"size", "sha256", "metadata", "checksum", "versions"}}
"""

import asyncio
import os
import stat

from aiohttp import web

from store import Body, Bucket, Object


def preload(server, spec):
    bucket, count = server.operations.buckets[spec["bucket"]], 0
    for folder, _, names in os.walk(spec["directory"]):
        for name in names:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode):
                continue
            body = Body(server.directory)
            with open(path, "rb") as file:
                body.write(file.read())
            body.close()
            seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
            metadata = {"x-amz-meta-mtime": f"{seconds}.{nanoseconds:09d}"} if spec.get("mtime_metadata", True) else {}
            key = os.path.relpath(path, spec["directory"])
            bucket.put(f"{spec['prefix']}/{key}" if spec.get("prefix") else key, Object(body, metadata, {}, None))
            count += 1
    return count


def make_control(server):
    routes = web.RouteTableDef()
    pending = set()

    @routes.get("/log")
    async def log(request):
        since = int(request.query.get("since", "0"))
        wanted = {name: request.query[name] for name in ("operation", "bucket", "key") if name in request.query}
        found = [entry for entry in server.log[since:] if all(entry[name] == value for name, value in wanted.items())]
        return web.json_response({"next": len(server.log), "requests": found})

    @routes.get("/state")
    async def state(request):
        return web.json_response({"faults": [rule.state() for rule in server.faults.rules], "options": server.options,
                                  "requests": len(server.log), "in_flight": server.in_flight,
                                  "in_flight_max": server.in_flight_max, "listening": server.site is not None})

    @routes.post("/faults")
    async def add_fault(request):
        try:
            return web.json_response({"id": server.faults.add(await request.json()).id})
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from None

    @routes.delete("/faults")
    async def clear_faults(request):
        server.faults.clear(int(request.query["id"]) if "id" in request.query else None)
        return web.json_response({})

    @routes.post("/options")
    async def set_options(request):
        wanted = await request.json()
        if set(wanted) - set(server.options):
            raise web.HTTPBadRequest(text=f"options are {sorted(server.options)}")
        server.options.update(wanted)
        return web.json_response(server.options)

    @routes.post("/refuse")
    async def refuse(request):
        seconds = (await request.json()).get("seconds")
        await server.refuse()

        async def listen_later():
            await asyncio.sleep(seconds)
            await server.listen()
        if seconds is not None:
            task = asyncio.create_task(listen_later())
            pending.add(task)
            task.add_done_callback(pending.discard)
        return web.json_response({})

    @routes.post("/listen")
    async def listen(request):
        await server.listen()
        return web.json_response({})

    @routes.post("/buckets")
    async def make_bucket(request):
        spec = await request.json()
        bucket = server.operations.buckets[spec["name"]] = Bucket()
        bucket.versioning = spec.get("versioning", False)
        return web.json_response({})

    @routes.delete("/buckets")
    async def drop_bucket(request):
        server.operations.buckets.pop(request.query["name"], None)
        return web.json_response({})

    @routes.post("/preload")
    async def preload_objects(request):
        return web.json_response({"objects": preload(server, await request.json())})

    @routes.get("/objects")
    async def objects(request):
        bucket = server.operations.buckets[request.query["bucket"]]
        live = {key: bucket.get(key) for key in bucket.keys}
        return web.json_response({
            key: {"size": stored.body.size, "sha256": stored.body.sha256.hexdigest(), "metadata": stored.metadata,
                  "checksum": stored.sha256_base64, "versions": len(bucket.versions[key])}
            for key, stored in live.items() if stored is not None})

    app = web.Application(client_max_size=1 << 20)
    app.add_routes(routes)
    return app
