/** As much of MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md) as the protocol needs. */

export function encode(value) {
  const bytes = [];
  const number = (lead, size, set, what) => {
    const view = new DataView(new ArrayBuffer(size));
    view[set](0, what);
    bytes.push(lead, ...new Uint8Array(view.buffer));
  };
  const put = (item) => {
    if (item === null) bytes.push(0xc0);
    else if (typeof item === "boolean") bytes.push(item ? 0xc3 : 0xc2);
    else if (Number.isInteger(item) && item >= 0 && item < 128) bytes.push(item);
    else if (Number.isInteger(item)) number(0xd3, 8, "setBigInt64", BigInt(item));
    else if (typeof item === "number") number(0xcb, 8, "setFloat64", item);
    else if (typeof item === "string") {
      const text = new TextEncoder().encode(item);
      number(0xdb, 4, "setUint32", text.length);
      bytes.push(...text);
    } else if (Array.isArray(item)) {
      number(0xdd, 4, "setUint32", item.length);
      item.forEach(put);
    } else {
      number(0xdf, 4, "setUint32", Object.keys(item).length);
      for (const pair of Object.entries(item)) pair.forEach(put);
    }
  };
  put(value);
  return new Uint8Array(bytes);
}

export function decode(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  let at = 0;
  const skip = (size) => (at += size) - size;
  const uint = (size) => ({ 1: () => view.getUint8(skip(1)), 2: () => view.getUint16(skip(2)), 4: () => view.getUint32(skip(4)) })[size]();
  const bin = (size) => data.slice(at, skip(size) + size);
  const str = (size) => new TextDecoder().decode(bin(size));
  const array = (size) => Array.from({ length: size }, take);
  const map = (size) => Object.fromEntries(Array.from({ length: size }, () => [take(), take()]));
  const fixed = { 0xc0: () => null, 0xc2: () => false, 0xc3: () => true, 0xcb: () => view.getFloat64(skip(8)) };
  const sized = { 0xdc: array, 0xde: map };
  function take() {
    const lead = uint(1);
    if (lead < 0x80) return lead;
    if (lead < 0x90) return map(lead & 0x0f);
    if (lead < 0xa0) return array(lead & 0x0f);
    if (lead < 0xc0) return str(lead & 0x1f);
    if (lead >= 0xe0) return lead - 256;
    if (lead in fixed) return fixed[lead]();
    if (lead <= 0xc6) return bin(uint(2 ** (lead - 0xc4)));
    if (lead >= 0xcc && lead <= 0xce) return uint(2 ** (lead - 0xcc));
    if (lead === 0xcf) return Number(view.getBigUint64(skip(8)));
    if (lead === 0xd0) return view.getInt8(skip(1));
    if (lead === 0xd1) return view.getInt16(skip(2));
    if (lead === 0xd2) return view.getInt32(skip(4));
    if (lead === 0xd3) return Number(view.getBigInt64(skip(8)));
    if (lead >= 0xd9 && lead <= 0xdb) return str(uint(2 ** (lead - 0xd9)));
    if (lead >= 0xdc && lead <= 0xdf) return sized[lead & 0xfe](uint(lead & 1 ? 4 : 2));
    throw new TypeError(`0x${lead.toString(16)} is not in the protocol`);
  }
  return take();
}
