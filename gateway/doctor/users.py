"""A user of the gateway: their account here, home and logs, the way to act as them, and jobs if the doctor may."""

import pwd

from gateway.backends.batch.options import JobQueueBackend, JobQueueClusterConfig
from gateway.backends.launcher.site_commands import site_settings
from gateway.doctor import homes, launcher, submission
from gateway.doctor.finding import failed, skipped
from gateway.doctor.site import Say, Site, looked_at


async def examine(site: Site, say: Say) -> None:
    """One after the other: what fails makes no sense of what comes after it."""
    backend, config = site.config.backend, site.config.cluster_config
    if not isinstance(backend, JobQueueBackend) or not isinstance(config, JobQueueClusterConfig):
        if site.submit_as:
            say(skipped("submission", f"{type(backend).__name__} has no batch system"))
        return
    settings = await looked_at(site_settings)
    user = await launcher.sample_user(backend, settings, say)
    user = site.submit_as or user
    if not user:
        say(skipped("launcher", "nobody is known to act as", f"name a user: {site.command} --submit-as USER"))
        return
    try:
        account = await looked_at(pwd.getpwnam, user)
    except KeyError:
        say(failed(f"user {user}", f"there is no account {user} on this host", f"getent passwd {user}"))
        return
    template = config.log_directory or config.staging_directory
    for finding in await looked_at(lambda: list(homes.verdicts(account, template))):
        say(finding)
    works = await launcher.try_as(user, backend, template, say)
    if not site.submit_as:
        evidence = "no job was submitted: what becomes of one, and what its Python has, is not known"
        say(skipped("submission", evidence, f"{site.command} --submit-as {user}"))
    elif not works:
        say(skipped("submission", "the launcher has to work first"))
    else:
        await submission.examine(site, user, settings, say)
