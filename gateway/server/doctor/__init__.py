"""`dask-gateway-server doctor`: looks at a site's set-up as the gateway would use it, and says what is wrong.

Each file looks at one subject; examination.py runs them one after the other.
What a batch system or an authenticator knows about itself is asked of it
(`JobQueueBackend.examination`, `Authenticator.examine`). Nothing is changed, but
for a job with --submit-as, which is ended and cleaned up.
"""
