// Where the tests run: what e2e/cluster/up, or whoever has another cluster, says of it (see `run`).

/** The ingress controller's address, one of this machine's that pods reach, and the file with the authority of the certificate. */
export const { ADDRESS, VM_ADDRESS, CA } = process.env;
